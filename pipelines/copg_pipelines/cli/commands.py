"""The commands for versions and runs on a KFP server."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from copg_pipelines.cli.names import Name
from copg_pipelines.cli.options import (
    Image,
    NoWait,
    OptionalRecipe,
    Pipeline,
    Poll,
    RecipeFile,
    Revision,
    RunDir,
    Sets,
    Timeout,
    Webhook,
    connected,
)

app = typer.Typer()


@app.command()
@connected
def create(
    dag: Name,
    recipe: RecipeFile,
    image: Image = "",
    run_dir: RunDir = "",
    pipeline: Pipeline = "",
    revision: Revision = "",
    sets: Sets = None,
    *,
    connect: Any,
) -> None:
    """Compile a DAG and put it on a server as a version; the same DAG again makes no second one."""
    from copg_pipelines.server.publishing import put

    version, made = put(connect(), dag, recipe, image, run_dir, pipeline, revision, sets)
    print(f"{'made' if made else 'there already'}: {version.display_name}  {version.pipeline_version_id}")


@app.command()
@connected
def versions(dag: Name, pipeline: Pipeline = "", *, connect: Any) -> None:
    """List the versions of a pipeline, the newest first, and which schedules run them."""
    from copg_pipelines.server.schedules import list_schedules, pinned_version
    from copg_pipelines.server.versions import get_pipeline, list_versions, version_name

    client = connect()
    found = get_pipeline(client, pipeline or dag)
    pinned = [(pinned_version(each), each.display_name) for each in list_schedules(client, found.pipeline_id)]
    for version in list_versions(client, found.pipeline_id):
        names = [name for which, name in pinned if which == version.pipeline_version_id]
        runs = f"  schedule {', '.join(names)}" if names else ""
        recipe = (version.tags or {}).get("recipe", "")
        print(f"{version_name(version):<48} {_date(version.created_at)}  {recipe:<16}{runs}".rstrip())


@app.command()
@connected
def status(
    dag: Name,
    run: Annotated[str, typer.Argument(help="Id of the run; default: the latest.")] = "",
    follow_it: Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")] = False,
    timeout: Timeout = 0.0,
    poll: Poll = 5.0,
    pipeline: Pipeline = "",
    *,
    connect: Any,
) -> None:
    """Show a run's tasks, how they stand and how long they took; fails when the run failed."""
    from copg_pipelines.server.following import wait_for
    from copg_pipelines.server.runs import ended, latest_run, show_run, why_not_succeeded
    from copg_pipelines.server.versions import get_pipeline

    client = connect()
    if run:
        shown = client.runs.run_service_get_run(run)
    else:
        shown = latest_run(client, get_pipeline(client, pipeline or dag).pipeline_id)
    if follow_it and not ended(shown):
        wait_for(client, shown.run_id, timeout_min=timeout, poll_s=poll)
        return
    show_run(client, shown, print)
    if ended(shown) and shown.state != "SUCCEEDED":
        print(f"error: {why_not_succeeded(shown)}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
@connected
def resume(
    run: Annotated[str, typer.Argument(help="Id of a run on a server, or directory of a local run.")],
    timeout: Timeout = 0.0,
    poll: Poll = 5.0,
    no_wait: NoWait = False,
    webhook: Webhook = "",
    *,
    connect: Any,
) -> None:
    """Run what failed in a run again, and all that follows; what succeeded is kept."""
    if Path(run).is_dir():
        from copg_pipelines.cli.running import resume_local

        resume_local(Path(run), webhook)
        return
    from copg_pipelines.server.following import wait_for
    from copg_pipelines.server.runs import retry

    client = connect()
    retry(client, run)
    print(f"resumed: {client.connection.page('runs/details', run)}")
    if not no_wait:
        wait_for(client, run, timeout_min=timeout, poll_s=poll, webhook=webhook)


@app.command("explain-cache")
@connected
def explain_cache(
    dag: Name,
    recipe: RecipeFile,
    root: Annotated[
        Path | None,
        typer.Option(help="Directory of runs on this machine, or the one of a cluster where it is mounted."),
    ] = None,
    image: Image = "",
    run_dir: RunDir = "",
    pipeline: Pipeline = "",
    sets: Sets = None,
    *,
    connect: Any,
) -> None:
    """Tell which tasks of the next run would be reused, and for the others what changed since the latest.

    With --root, down to the contents of data, model, rewards and code; with --host, what the two DAGs tell.
    """
    from copg_pipelines.explain_cache import explain_local, show

    if root is not None:
        from copg.run.recipe import load_recipe

        show(explain_local(dag, load_recipe(recipe, sets or [], here=Path.cwd()), root))
        return
    from copg_pipelines.against import explain_against_latest

    show(explain_against_latest(connect(), dag, pipeline or dag, recipe, image, run_dir, sets))
    print("data, model, rewards and champion: by name; resolve looks at what lies behind them on the cluster")


@app.command()
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


def _date(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
