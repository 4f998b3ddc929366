"""The commands that look at runs, caches and servers: ``status``, ``explain-cache`` and ``doctor``."""

import sys
from typing import Annotated, Any

import typer

from copg.cli.command import Refusal, refuses
from copg.cli.options import OptionalRecipe, runs_here
from copg_pipelines.cli.options import CONNECTION, HERE, Place, Wait, connected, targeted, waiting
from copg_pipelines.target import Target


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
    *,
    wait: Wait,
    connect: Any,
) -> None:
    """Show a run's tasks, how they stand and how long they took; fails when the run failed."""
    from copg_pipelines.server.runs import ended, latest_run, show_run, why_not_succeeded
    from copg_pipelines.server.versions import get_pipeline

    client = connect()
    if run:
        shown = client.runs.run_service_get_run(run)
    else:
        shown = latest_run(client, get_pipeline(client, target.pipeline_name).pipeline_id)
    if follow_it and not ended(shown):
        wait.wait(client, shown.run_id, target.dag)
        return
    show_run(client, shown, print)
    if ended(shown) and shown.state != "SUCCEEDED":
        print(f"error: {why_not_succeeded(shown)}", file=sys.stderr)
        raise typer.Exit(1)


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
    kube_context: Annotated[str, typer.Option(help="Kube context; default: the current one.")] = "",
    kfp_namespace: Annotated[str, typer.Option(help="Where KFP is installed.")] = "kubeflow",
    cluster: Annotated[
        bool, typer.Option("--cluster/--no-cluster", help="Whether to look at Kubernetes too.")
    ] = True,
    *,
    connect: Any,
) -> None:
    """Look at a KFP server and its cluster; each line says that something is well, or what to do.

    With --recipe, also whether the cluster has what its placement asks for. Fails when there is a todo.
    """
    from copg_pipelines.doctor.examination import examine
    from copg_pipelines.doctor.kube import connect_cluster
    from copg_pipelines.doctor.requirements import requirements_of

    client = connect()
    asked = requirements_of(recipe, kfp_namespace, client.connection.namespace or kfp_namespace, image)
    well = True
    for finding in examine(client, (lambda: connect_cluster(kube_context)) if cluster else None, asked):
        print(finding.line(), flush=True)
        well = well and finding.well is not False
    if not well:
        raise typer.Exit(1)
