"""Commands that look: ``status``, ``logs`` at runs, ``explain-cache`` at caches, ``doctor`` at servers."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.command import Refusal, refuses
from copg.cli.options import OptionalRecipe, runs_here
from copg.errors import ConfigError
from copg_pipelines.cli.options import (
    CONNECTION,
    HERE,
    Place,
    RunId,
    Wait,
    at_hand,
    connected,
    targeted,
    waiting,
)
from copg_pipelines.target import Target

Context = Annotated[str, typer.Option(help="Kube context; default: the current one.")]


@refuses(
    Refusal(("timeout", "poll"), lambda given: not given["follow_it"], "without --follow"),
    Refusal(("pipeline",), lambda given: given["run"], "with the id of a run"),
)
@connected
@waiting("timeout", "poll")
@targeted("pipeline")
def status(
    target: Target,
    run: Annotated[str, typer.Argument(help="Id of the run; default: the latest.")] = "",
    follow_it: Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")] = False,
    kube_context: Context = "",
    *,
    wait: Wait,
    connect: Any,
) -> None:
    """Show a run's tasks, how they stand and how long they took; fails when the run failed.

    Where a kube context is at hand, also why a pod of it does not start.
    """
    from copg_pipelines.server.runs import LOST, ended, latest_runs, outcome
    from copg_pipelines.server.showing import look, show_run
    from copg_pipelines.server.tasks import CANCELED
    from copg_pipelines.server.versions import get_pipeline

    client = connect()
    before: list[Any] = []
    if run:
        found = client.runs.run_service_get_run(run)
    else:
        found, *before = latest_runs(client, get_pipeline(client, target.pipeline_name).pipeline_id)
    if follow_it and not ended(found):
        wait.wait(client, found.run_id, target.dag, kube_context)
        return
    shown = look(client, found, at_hand(client, kube_context))
    show_run(shown, print)
    for each in before:
        if outcome(each) == CANCELED:
            print(f"the run before, {each.run_id}, was cancelled")
    if (ended(found) and shown.outcome != "SUCCEEDED") or shown.outcome == LOST:
        print(f"error: {shown.why()}", file=sys.stderr)
        raise typer.Exit(1)


@refuses(Refusal(("attempt",), lambda given: not given["task"], "without a task"))
@connected
def logs(
    run: RunId,
    task: Annotated[
        str, typer.Argument(help="As status names it; default: those that failed, else those that run.")
    ] = "",
    attempt: Annotated[int, typer.Option(help="Which attempt; 0: the latest.")] = 0,
    kube_context: Context = "",
    *,
    connect: Any,
) -> None:
    """Print what tasks of a run wrote; the server keeps it when their pods are gone.

    Of a pod that runs, and of one of whose end it did not tell, a server of one user has no log: then the
    cluster is asked, where a kube context is at hand.
    """
    from copg_pipelines.server.showing import Shown

    client = connect()
    shown = Shown(client, client.runs.run_service_get_run(run), at_hand(client, kube_context))
    chosen = shown.choose(task)
    missing = []
    for each in chosen:
        log = shown.log(each, attempt)
        if log is None:
            missing.append(each.name)
            continue
        if len(chosen) > 1:
            print(f"== {each.name}")
        print(log.rstrip("\n"))
    if missing:
        which = f" of attempt {attempt}" if attempt else ""
        raise ConfigError(f"the server has no log{which} of {', '.join(missing)}")


@refuses(
    Refusal(("image", "pipeline", *CONNECTION), lambda given: given["on"] == Place.LOCAL, HERE),
)
@connected
@targeted("recipe", "sets", "run_dir", "image", "pipeline", needs_recipe=True)
def explain_cache(
    target: Target,
    on: Annotated[Place, typer.Option(help="Where the latest run was.")] = Place.LOCAL,
    *,
    connect: Any,
) -> None:
    """Tell which tasks of the next run would be reused, and for the others what changed since the latest.

    Here, and with the directory of a cluster's runs where it is mounted, down to the contents of data, model,
    rewards and code; with --on cluster, what the two DAGs tell.
    """
    from copg_pipelines.explain_cache import explain_local, show

    if on is Place.LOCAL:
        recipe = target.load(here=True)
        show(explain_local(target.dag, recipe, runs_here(recipe, target.run_dir)))
        return
    from copg_pipelines.explain_latest import explain_latest

    show(explain_latest(connect(), target))
    print("data, model, rewards and champion: by name; resolve looks at what lies behind them on the cluster")


@refuses(
    Refusal(
        ("recipe", "image", "kube_context", "kfp_namespace"),
        lambda given: not given["cluster"],
        "with --no-cluster",
    )
)
@connected
def doctor(
    recipe: OptionalRecipe = None,
    image: Annotated[
        str, typer.Option(help="Image to pull for a try, by a pod that is deleted; else the placement's.")
    ] = "",
    kube_context: Context = "",
    kfp_namespace: Annotated[str, typer.Option(help="Where KFP is installed.")] = "kubeflow",
    cluster: Annotated[
        bool, typer.Option("--cluster/--no-cluster", help="Whether to look at Kubernetes too.")
    ] = True,
    manifests: Annotated[
        Path | None, typer.Option(help="Overlay: what applying it would change of others.", file_okay=False)
    ] = None,
    *,
    connect: Any,
) -> None:
    """Look at a KFP server and its cluster; each line says that something is well, or what to do.

    With --recipe, also whether the cluster has what its placement asks for. Fails when there is a todo.
    """
    from itertools import chain

    from copg_pipelines.doctor.changes import check_changes
    from copg_pipelines.doctor.examination import examine
    from copg_pipelines.doctor.kube import connect_cluster
    from copg_pipelines.doctor.requirements import requirements_of

    client = connect()
    asked = requirements_of(recipe, kfp_namespace, client.connection.namespace or kfp_namespace, image)
    well = True
    examined = examine(client, (lambda: connect_cluster(kube_context)) if cluster else None, asked)
    changes = check_changes(manifests, kube_context) if manifests else ()
    for finding in chain(examined, changes):
        print(finding.line(), flush=True)
        well = well and finding.well is not False
    if not well:
        raise typer.Exit(1)
