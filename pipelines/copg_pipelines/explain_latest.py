"""A recipe beside the latest run on a server, for ``explain-cache``."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from copg.digests import json_digest
from copg.run.form import OF_RECIPE, folded, unfolded
from copg.run.plan import stage_keys
from copg.run.recipe import Recipe, parse_recipe, parse_stages
from copg.run.stage_settings import stage_settings
from copg.run.task_names import task_name
from copg.stages.table import ROWS, TABLE, rows
from copg_pipelines.dags import plans_of
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.explain_cache import Basis, Forecast, changes
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.outline import read_outline
from copg_pipelines.server.runs import latest_runs
from copg_pipelines.server.tasks import CACHED, tasks_of
from copg_pipelines.server.versions import compiled, get_pipeline
from copg_pipelines.target import Target

COMPONENT = re.compile(r"comp-(.+?)(-shard)?(-\d+)?$")
"""Of a stage, of its shards, and of its second task in a DAG."""


def explain_latest(client: Client, target: Target) -> list[Forecast]:
    """What the DAG of a recipe shares with the latest run of its pipeline.

    Raises:
        ClientError: the pipeline never ran, or the server refuses.
        ConfigError: the recipe is wrong.
    """
    recipe, plans = target.load(), plans_of(target.dag) or ROWS
    with compiled(target) as file:
        now = _nominal(read_compiled(file.path)[0], {}, recipe, plans)
    run = latest_runs(client, get_pipeline(client, target.pipeline_name).pipeline_id)[0]
    reference = run.pipeline_version_reference
    version = client.pipelines.pipeline_service_get_pipeline_version(
        reference.pipeline_id, reference.pipeline_version_id
    )
    if not version.pipeline_spec:
        raise ClientError(f"{client.connection.host} does not show the DAG of version {version.display_name}")
    try:
        given = run.runtime_config.parameters if run.runtime_config else None
        before = _nominal(version.pipeline_spec, given or {}, recipe, plans)
    except KeyError as error:
        raise ClientError(f"version {version.display_name} is no DAG of ours: it has no {error}") from None
    told = tasks_of(run, read_outline(version.pipeline_spec, given or {}).items)
    states = {each.name: "SUCCEEDED" if each.state == CACHED else each.state for each in told.tasks}
    return _compare(before, now, states)


def _compare(old: Basis, new: Basis, states: Mapping[str, str]) -> list[Forecast]:
    """Compare two compiled DAGs: what their files tell, which is not what lies behind the names in them.

    Args:
        old: DAG of the latest run.
        new: DAG to come.
        states: of the latest run's tasks, by name.
    """
    keys = [stage_keys(side.configs, side.digests, side.trials) for side in (old, new)]
    found = []
    for plan in keys[1]:
        stage = ROWS[plan].stage
        once: dict[str, Sequence[Any]] = {"run": [None], "baseline": new.baselines, "trial": new.trials}
        for subject in once[ROWS[plan].once]:
            why = tuple(changes(plan, subject, old, new))
            ended = states.get(task_name(stage, subject), "SUCCEEDED")
            if not why and keys[0].get(plan) == keys[1][plan] and ended != "SUCCEEDED":
                why = (f"nothing changed, but it is {ended} in the latest run",)
            found.append(Forecast(task_name(stage, subject), not why, why))
    return found


def _nominal(
    spec: Mapping[str, Any], given: Mapping[str, Any], recipe: Recipe, names: Container[str]
) -> Basis:
    """A DAG's side, with the parameters of a run: digests of the names, whose meaning lies on the cluster.

    Args:
        spec: the compiled DAG.
        given: parameters of the run; else their defaults in the DAG count.
        recipe: for parameters that the DAG does not have, since no task of it reads them.
        names: of the plans that the DAG has.
    """
    spec = spec.get("pipeline_spec", spec)
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    value = {name: given.get(name, each.get("defaultValue")) for name, each in inputs.items()}
    flat = {name: value[name] for name in OF_RECIPE if value.get(name)}  # parameters of 0.1.0
    known = unfolded(recipe) | value
    recipe = parse_recipe(folded(known | {"settings": {**(known["settings"] or {}), **flat}})[0])
    run_dir = Path(value["run_dir"])
    parsed = parse_stages(
        recipe, {stage: stage_settings(recipe, stage, run_dir=run_dir) for stage in recipe.planned}
    )
    configs = {stage: asdict(each) for stage, each in parsed.items()}
    configs["train"].pop("trial")
    digests = {name: "" for row in TABLE for name in row.digests}  # rewards are in the settings
    digests |= {"data": json_digest(recipe.records), "model": json_digest([recipe.model, recipe.revision])}
    digests |= {f"code/{stage}": _code(spec, stage) for stage in configs}
    plans = {row.name: configs[row.stage] for row in rows(names) if row.stage in configs}
    return Basis(plans, digests, recipe.trials, [{"name": "reference"}], _constants(spec))


def _constants(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values that the DAG gives tasks by itself, by stage; they are part of what KFP's cache goes by."""
    found: dict[str, dict[str, Any]] = {}
    for dag in [spec["root"], *spec["components"].values()]:
        for task in dag.get("dag", {}).get("tasks", {}).values():
            if component := COMPONENT.match(task["componentRef"]["name"]):
                for name, value in task.get("inputs", {}).get("parameters", {}).items():
                    if "constant" in value.get("runtimeValue", {}):
                        found.setdefault(component[1], {})[name] = value["runtimeValue"]["constant"]
    return found


def _code(spec: Mapping[str, Any], stage: str) -> str:
    component = spec["components"].get(f"comp-{stage}", {})
    container = (
        spec["deploymentSpec"]["executors"].get(component.get("executorLabel"), {}).get("container", {})
    )
    return json_digest([container.get("image"), container.get("command")])
