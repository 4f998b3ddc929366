"""A recipe beside the latest run on a server, for ``explain-cache``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.client import Client
from pipelines.connection import ClientError
from pipelines.explain_cache import Verdict, explain_spec
from pipelines.publishing import compiled
from pipelines.runs import latest_run, tasks_of
from pipelines.versions import get_pipeline


def explain_against_latest(
    client: Client, pipeline: str, recipe: Path, image: str, run_dir: str, sets: list[str] | None
) -> list[Verdict]:
    """What the DAG of a recipe shares with the latest run of a pipeline.

    Raises:
        ClientError: the pipeline never ran, or the server refuses.
    """
    run = latest_run(client, get_pipeline(client, pipeline).pipeline_id)
    reference = run.pipeline_version_reference
    version = client.pipelines.pipeline_service_get_pipeline_version(
        reference.pipeline_id, reference.pipeline_version_id
    )
    if not version.pipeline_spec:
        raise ClientError(f"{client.connection.host} does not show the DAG of version {version.display_name}")
    before = _with_parameters(version.pipeline_spec, run.runtime_config)
    with compiled(recipe, image, run_dir, "", sets) as dag:
        now = next(iter(yaml.safe_load_all(dag.path.read_text())))
    states: dict[str, str] = {}
    for task in tasks_of(run):
        name, state = task.display_name, str(task.state or "PENDING")
        if states.get(name, "SUCCEEDED") == "SUCCEEDED":  # of a loop's tasks, one that failed
            states[name] = state
    return explain_spec(before, now, states)


def _with_parameters(spec: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """A DAG whose defaults are the parameters that a run was given."""
    spec = dict(spec.get("pipeline_spec", spec))
    given = (config.parameters if config else None) or {}
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    merged = {
        name: {**each, "defaultValue": given.get(name, each.get("defaultValue"))}
        for name, each in inputs.items()
    }
    spec["root"] = {**spec["root"], "inputDefinitions": {"parameters": merged}}
    return spec
