"""One stage of a DAG alone, on this machine or on a server."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from copg_components import IMAGE

from copg.run.recipe import Recipe
from copg.run.summary import RESOLVE_KEY
from copg.run.task_record import RUN, read_json, read_record, record_path, task_key, task_name
from copg_pipelines.dags import Shape
from copg_pipelines.local import run_stage_local
from copg_pipelines.target import Target

if TYPE_CHECKING:  # loads kfp
    from copg_pipelines.dags.single import Single


def run_stage_here(recipe: Recipe, root: Path, single: "Single") -> None:
    """Run one stage on this machine, and print its metrics and what it left.

    Raises:
        typer.Exit: with 1 when it failed.
    """
    from copg_pipelines.dags.single import build_single

    log = run_stage_local(recipe, root, lambda: build_single(single, Shape()))
    root, task = root.resolve(), task_name(single.stage, single.subject)
    run = read_json(root / RUN)
    key = run.get("plans", {}).get(single.plan, {}).get("key", "")
    record = read_record(record_path(root, task, task_key(key, single.subject))) if key else None
    if record is None or record.run != run["run"] or record.state != "succeeded":
        resolved = read_record(record_path(root, "resolve", RESOLVE_KEY))
        mine = record if record is not None and record.run == run["run"] else None
        failed = mine or (resolved if resolved and resolved.state == "failed" else None)
        why = f"{failed.task}: {failed.message or 'killed while it ran'}" if failed else f"{task} never ran"
        print(f"error: stage {why} (log: {log})", file=sys.stderr)
        raise typer.Exit(1)
    for metric, value in sorted(record.metrics.items()):
        print(f"{metric:<40} {value:.6g}" if isinstance(value, float | int) else f"{metric:<40} {value}")
    for name, address in record.outputs.items():
        print(f"{name}: {address}")


def run_stage_there(client: Any, recipe: Recipe, single: "Single", target: Target) -> Any:
    """Start a DAG of one stage on a server, without a version of its own; the run.

    Args:
        client: of the server.
        recipe: the target's, with paths as the pods see them.
        single: what to run.
        target: for the image, the directory of the runs and the place on the server.
    """
    import kfp_server_api as api

    from copg_pipelines.server.runs import submit

    run = api.V2beta1Run(
        display_name=f"{recipe.name}-{single.stage}",
        pipeline_spec=compile_single(recipe, single, image=target.image, run_dir=target.runs_there(recipe)),
        runtime_config=api.V2beta1RuntimeConfig(parameters={}, pipeline_root=target.pipeline_root or None),
        service_account=target.service_account or None,
    )
    return submit(client, run, experiment=target.pipeline_name)


def compile_single(recipe: Recipe, single: "Single", *, image: str, run_dir: str) -> dict[str, Any]:
    """The DAG of one stage as a server takes it within the request for a run."""
    from kfp import compiler

    from copg_pipelines.dags.compiling import arguments
    from copg_pipelines.dags.single import build_single
    from copg_pipelines.placement.config import parse_placement
    from copg_pipelines.placement.placement import Placement, placed

    config = parse_placement(recipe.placement)
    placement = Placement(config, image or config.image.name or IMAGE)
    limits = placement.pipeline_config()
    shape = Shape(place=placement.place, train_job=placement.train_job(), pipeline_config=limits)
    pipeline = build_single(single, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "only.yaml"
        parameters = arguments(placed(recipe, config), run_dir)
        compiler.Compiler().compile(pipeline, str(path), pipeline_parameters=parameters)
        spec, *platform = yaml.safe_load_all(path.read_text())
    return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
