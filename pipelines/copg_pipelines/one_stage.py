"""One stage of a DAG alone, on this machine or on a server."""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from copg.run.recipe import Recipe
from copg.run.summary import RESOLVE_KEY
from copg.run.task_names import task_key, task_name
from copg.run.task_record import RUN, TaskRecord, read_json, read_record, record_path
from copg_pipelines.dags import Shape
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.local import place_here, run_stage_local
from copg_pipelines.target import Target

if TYPE_CHECKING:  # loads kfp
    from copg_pipelines.dags.single import Single


def run_stage_here(recipe: Recipe, root: Path, single: "Single") -> None:
    """Run one stage on this machine, and print its metrics and what it left.

    Raises:
        typer.Exit: with 1 when it failed.
    """
    from copg_pipelines.dags.single import build_single

    log = run_stage_local(recipe, root, lambda: build_single(single, Shape(place=place_here)))
    root, task = root.resolve(), task_name(single.stage, single.subject)
    run = read_json(root / RUN)
    key = run.get("plans", {}).get(single.plan, {}).get("key", "")
    record = read_record(record_path(root, task, task_key(key, single.subject))) if key else None
    if record is None or record.run != run["run"] or record.state != "succeeded":
        resolved = read_record(record_path(root, "resolve", RESOLVE_KEY))
        mine = record if record is not None and record.run == run["run"] else None
        failed = mine or (resolved if resolved and resolved.state == "failed" else None)
        _warn(failed)
        why = f"{failed.task}: {failed.message or 'killed while it ran'}" if failed else f"{task} never ran"
        print(f"error: stage {why} (log: {log})", file=sys.stderr)
        raise typer.Exit(1)
    _warn(record)
    for metric, value in sorted(record.metrics.items()):
        print(f"{metric:<40} {value:.6g}" if isinstance(value, float | int) else f"{metric:<40} {value}")
    for name, address in record.outputs.items():
        print(f"{name}: {address}")


def _warn(record: TaskRecord | None) -> None:
    """Print what a task warned of, and those that made what it took."""
    for warning in record.warnings if record is not None else []:
        print(f"warning: {warning}", file=sys.stderr)


def run_stage_there(client: Any, recipe: Recipe, single: "Single", target: Target) -> Any:
    """Start a DAG of one stage on a server, without a version of its own; the run.

    What may be wrong with the DAG is printed, as of a whole one.

    Args:
        client: of the server.
        recipe: the target's, with paths as the pods see them.
        single: what to run.
        target: for the image, the directory of the runs and the place on the server.

    Raises:
        LintError: no server could run the DAG.
    """
    from copg_pipelines.dags.compiling import compile_to
    from copg_pipelines.dags.lint import warn_or_refuse
    from copg_pipelines.dags.single import build_single
    from copg_pipelines.server.runs import submit

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "only.yaml"
        build = partial(build_single, single)
        compile_to(path, build, recipe, run_dir=target.runs_there(recipe), image=target.image)
        warn_or_refuse(path, again=True)
        spec, platform = read_compiled(path)
    whole = {"pipeline_spec": spec, "platform_spec": platform} if platform else spec
    return submit(client, target, f"{recipe.name}-{single.stage}", pipeline_spec=whole)
