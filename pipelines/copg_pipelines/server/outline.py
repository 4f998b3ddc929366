"""What a compiled DAG tells of the nodes of its runs: what its loops go over, and names of pods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from copg.run.task_names import subject_name
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.tasks import Items

BASELINES = ("reference", "champion")
"""What the loop of that name goes over; the champion where there is one."""
DRIVERS = ("system-container-driver", "system-dag-driver")
"""Templates of the pods that look up what a task takes."""


@dataclass(frozen=True)
class Outline:
    """What a DAG tells of the nodes of its runs."""

    items: Items = field(default_factory=dict)
    templates: tuple[str, ...] = DRIVERS
    """Of its pods, whose names begin with that of the workflow and then one of these."""


def outline_of(client: Client, run: Any) -> Outline:
    """What the DAG of a run tells; nothing of one whose version is deleted."""
    spec, version = run.pipeline_spec, run.pipeline_version_reference
    if not spec and version is not None and version.pipeline_version_id:
        get = client.pipelines.pipeline_service_get_pipeline_version
        try:
            spec = get(version.pipeline_id, version.pipeline_version_id).pipeline_spec
        except ClientError as error:
            if error.status != 404:
                raise
    given = (run.runtime_config.parameters if run.runtime_config else None) or {}
    return read_outline(spec or {}, given)


def read_outline(spec: Mapping[str, Any], given: Mapping[str, Any]) -> Outline:
    """What a DAG tells.

    Args:
        spec: as a server holds it.
        given: parameters of the run, in place of the defaults compiled in.
    """
    dag = spec.get("pipeline_spec", spec)
    parameters = dag.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    trials = given.get("trials") or parameters.get("trials", {}).get("defaultValue") or []
    known: dict[str, tuple[str, ...]] = {"baselines": BASELINES}
    if all(isinstance(each, Mapping) for each in trials):
        known["trials"] = tuple(map(subject_name, trials))
    items = {}
    for name, task in _tasks(dag):
        over = task.get("parameterIterator", {}).get("items", {}).get("inputParameter", "")
        found = [known[each] for each in known if over.endswith(f"-{each}")]
        if found:
            items[name] = found[0]
    return Outline(items, (*_templates(spec.get("platform_spec", {})), *DRIVERS))


def _tasks(dag: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for component in (dag.get("root", {}), *dag.get("components", {}).values()):
        yield from component.get("dag", {}).get("tasks", {}).items()


def _templates(platform: Mapping[str, Any]) -> list[str]:
    """Of pods, named after how many annotations and labels they get, and whether they are tried again."""
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
    begins = {""}
    for each in executors.values():
        if (metadata := each.get("podMetadata")) is not None:
            begins.add(f"metadata-{len(metadata.get('annotations', {}))}-{len(metadata.get('labels', {}))}-")
    ends = ("retry-system-container-impl", "system-container-impl")
    return [f"{begin}{end}" for begin in sorted(begins, reverse=True) for end in ends]
