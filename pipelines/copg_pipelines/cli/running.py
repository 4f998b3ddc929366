"""``run``, ``resume`` and ``cancel``: a DAG, or one stage of it, on this machine or on a server."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copg.cli.command import Refusal, refuses
from copg.cli.options import TRIAL, RunDir, option, runs_here
from copg.errors import ConfigError
from copg_pipelines.cli.options import (
    CONNECTION,
    HERE,
    NO_VERSION,
    ON_SERVER,
    UNWATCHED,
    Place,
    RunId,
    Wait,
    at_hand,
    connected,
    targeted,
    waiting,
)
from copg_pipelines.target import Target, check_number

if TYPE_CHECKING:
    from copg.run.recipe import Recipe

ALONE = "One stage"


@refuses(
    Refusal(
        (*ON_SERVER, "timeout", "poll", "no_wait", *CONNECTION),
        lambda given: given["on"] == Place.LOCAL,
        HERE,
    ),
    Refusal(("given", "trial"), lambda given: not given["only"], "without --only"),
    Refusal(("version", "revision"), lambda given: given["only"], "with --only, which makes no version"),
    Refusal(
        ("webhook",),
        lambda given: given["only"] and given["on"] == Place.LOCAL,
        "with --only on this machine: the command says itself how it went",
    ),
    NO_VERSION,
    UNWATCHED,
)
@connected
@waiting("timeout", "poll", "no_wait", "webhook")
@targeted("recipe", "sets", "run_dir", *ON_SERVER)
def run(
    target: Target,
    on: Annotated[Place, typer.Option(help="Where to run.")] = Place.LOCAL,
    only: Annotated[str, option("One stage alone, on the artifacts that --from gives.", panel=ALONE)] = "",
    given: Annotated[
        list[str] | None,
        option("For --only: an artifact, as ADDRESS or NAME=ADDRESS. Repeatable.", "--from", panel=ALONE),
    ] = None,
    trial: Annotated[str, option(TRIAL, "--trial", panel=ALONE)] = "",
    *,
    wait: Wait,
    connect: Any,
) -> None:
    """Run a DAG, or one stage of it, and wait for it.

    Here, relative paths in the recipe start from the recipe's own folder and those in --set from here; on a
    cluster they are the pods'. Fails when the run failed or was cancelled.
    """
    if on is Place.LOCAL:
        _run_here(target, only, given or [], trial, wait.webhook)
        return
    client, started = (
        _run_stage_there(connect, target, only, given or [], trial) if only else _run_there(connect, target)
    )
    print(f"run: {client.connection.page('runs/details', started.run_id)}")
    wait.wait(client, started.run_id, target.dag)


@refuses(
    Refusal(
        ("timeout", "poll", "no_wait", *CONNECTION),
        lambda given: given["run_dir"],
        "with --run-dir: that run is resumed on this machine",
    ),
    UNWATCHED,
)
@connected
@waiting("timeout", "poll", "no_wait", "webhook")
def resume(
    run: Annotated[
        str, typer.Argument(help="Id of a run on a server; for one of this machine --run-dir.")
    ] = "",
    run_dir: RunDir = "",
    *,
    wait: Wait,
    connect: Any,
) -> None:
    """Run what failed in a run again, and all that follows; what succeeded is kept."""
    if bool(run) == bool(run_dir):
        raise ConfigError("give either the id of a run on a server, or the --run-dir of one on this machine")
    if run_dir:
        from copg_pipelines.local import kept_recipe

        _run_dag(*kept_recipe(Path(run_dir)), Path(run_dir), wait.webhook)
        return
    from copg_pipelines.server.runs import retry

    client = connect()
    retry(client, run)
    print(f"resumed: {client.connection.page('runs/details', run)}")
    wait.wait(client, run)


@connected
@waiting("poll", "webhook")
def cancel(
    run: RunId,
    timeout: Annotated[float, typer.Option(help="Minutes to wait until it has stopped.")] = 5.0,
    *,
    wait: Wait,
    connect: Any,
) -> None:
    """Stop a run on a server, and wait until it has stopped; it can be resumed.

    The run's own last task is stopped with it, so that this command tells the webhook.
    """
    from copg_pipelines.server import runs
    from copg_pipelines.server.following import tell
    from copg_pipelines.server.showing import Shown, show_run
    from copg_pipelines.server.tasks import CANCELED

    check_number("--timeout", timeout, "minutes")
    client = connect()
    stopped, outcome = runs.cancel(client, run, timeout_s=60 * timeout, every_s=wait.poll)
    shown = Shown(client, stopped, at_hand(client), lost=outcome == runs.LOST)
    show_run(shown, print)
    if outcome not in (CANCELED, runs.LOST):  # of how it ended, its own last task has told
        raise ConfigError(f"run {run} was over before it could be stopped: it is {outcome}")
    tell(wait.webhook, shown)


def _run_here(target: Target, only: str, given: list[str], trial: str, webhook: str) -> None:
    if target.recipe is None:
        raise ConfigError("a run on this machine needs --recipe")
    recipe = target.load(here=True)
    runs = runs_here(recipe, target.run_dir)
    if not only:
        _run_dag(target.dag, recipe, runs, webhook)
        return
    from copg_pipelines.dags.single import choose_single
    from copg_pipelines.one_stage import run_stage_here

    single = choose_single(recipe, only, given, trial, here=True, dag=target.dag)
    run_stage_here(recipe, runs, single)


def _run_dag(dag: str, recipe: "Recipe", runs: Path, webhook: str) -> None:
    """Run a DAG on this machine, tell the webhook, and show what was found.

    Raises:
        typer.Exit: with 1 when it failed.
    """
    from copg.run.ending import show_failure, show_summary
    from copg_pipelines.local import run_local

    summary = run_local(dag, recipe, runs)
    if webhook:
        from copg.run.webhook import notify

        if said := notify(webhook, summary):
            print(said, file=sys.stderr)
    if summary["failure"]:
        show_failure(summary)
        raise typer.Exit(1)
    show_summary(summary)


def _run_stage_there(connect: Any, target: Target, only: str, given: list[str], trial: str) -> Any:
    """Start one stage on a server; the client, and the run."""
    if target.recipe is None:
        raise ConfigError("--only needs --recipe: a stage takes its settings from it")
    from copg_pipelines.dags.single import choose_single
    from copg_pipelines.one_stage import run_stage_there

    client, recipe = connect(), target.load()
    single = choose_single(recipe, only, given, trial, here=False, dag=target.dag)
    return client, run_stage_there(client, recipe, single, target)


def _run_there(connect: Any, target: Target) -> Any:
    """Start a version on a server; the client, and the run."""
    from copg_pipelines.server.runs import submit
    from copg_pipelines.server.versions import chosen, reference_to

    client = connect()
    version = chosen(client, target)
    print(f"version: {version.display_name}")
    name = (version.tags or {}).get("recipe") or target.pipeline_name
    return client, submit(client, target, name, pipeline_version_reference=reference_to(version))
