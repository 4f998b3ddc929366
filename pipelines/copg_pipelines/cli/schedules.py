"""The commands for schedules on a KFP server."""

from typing import Annotated, Any

import typer

from copg.errors import ConfigError
from copg_pipelines.cli.names import Name
from copg_pipelines.cli.options import (
    Account,
    Image,
    OptionalRecipe,
    Pipeline,
    Revision,
    Root,
    RunDir,
    Sets,
    Version,
    connected,
)

app = typer.Typer()

Names = Annotated[list[str] | None, typer.Option("--name", help="Which schedule. May be repeated.")]
Every = Annotated[bool, typer.Option("--all", help="All schedules of the pipeline.")]


@app.command()
@connected
def schedule(
    dag: Name,
    cron: Annotated[
        str, typer.Option(help="Five fields: minute, hour, day of month, month, day of week; or @daily.")
    ],
    time_zone: Annotated[str, typer.Option(help="By whose clock, such as Europe/Paris.")] = "UTC",
    server_time_zone: Annotated[
        str,
        typer.Option(help="Time zone of KFP's scheduler: its CRON_SCHEDULE_TIMEZONE; UTC unless set there."),
    ] = "UTC",
    name: Annotated[str, typer.Option(help="Of the schedule; default: the recipe's.")] = "",
    recipe: OptionalRecipe = None,
    version: Version = "",
    image: Image = "",
    run_dir: RunDir = "",
    pipeline: Pipeline = "",
    revision: Revision = "",
    service_account: Account = "",
    pipeline_root: Root = "",
    sets: Sets = None,
    *,
    connect: Any,
) -> None:
    """Run a version on a schedule: pinned, one run at a time, nothing caught up; again replaces it."""
    from copg_pipelines.server.cron import next_time, server_cron
    from copg_pipelines.server.publishing import chosen
    from copg_pipelines.server.runs import ensure_experiment
    from copg_pipelines.server.schedules import Schedule, ensure_schedule

    six = server_cron(cron, time_zone, server_time_zone)
    client = connect()
    pinned = chosen(client, dag, recipe, version, image, run_dir, pipeline, revision, sets)
    group = ensure_experiment(client, pipeline or dag)
    wanted = Schedule(
        name=name or (pinned.tags or {}).get("recipe") or (pipeline or dag),
        cron=six,
        says=f"{cron} {time_zone}",
        experiment_id=group.experiment_id,
        service_account=service_account,
        pipeline_root=pipeline_root,
    )
    made, done = ensure_schedule(client, wanted, pinned)
    coming = next_time(cron, time_zone)
    print(f"{done}: schedule {made.display_name}  {made.recurring_run_id}")
    print(f"version: {pinned.display_name}")
    print(f"next: {coming.isoformat() if coming else 'never'}")
    print(f"schedule: {client.connection.page('recurringrun/details', made.recurring_run_id)}")


@app.command()
@connected
def unschedule(
    dag: Name,
    names: Names = None,
    every: Every = False,
    pipeline: Pipeline = "",
    *,
    connect: Any,
) -> None:
    """Delete schedules; runs that have begun go on."""
    from copg_pipelines.server.schedules import choose, remove_schedules
    from copg_pipelines.server.versions import get_pipeline

    client = connect()
    found = get_pipeline(client, pipeline or dag)
    _be_sure(choose(client, found.pipeline_id, names or []), names, every)
    removed = remove_schedules(client, found.pipeline_id, names or [])
    for each in removed:
        print(f"removed: schedule {each.display_name}  {each.recurring_run_id}")
    if not removed:
        print("there is no schedule")


@app.command()
@connected
def rollback(
    dag: Name,
    to: Annotated[
        str, typer.Option(help="Version to run from now on; default: the one of the same recipe before.")
    ] = "",
    names: Names = None,
    every: Every = False,
    pipeline: Pipeline = "",
    *,
    connect: Any,
) -> None:
    """Point schedules at an older version."""
    from copg_pipelines.server.connection import ClientError
    from copg_pipelines.server.schedules import choose, pinned_version, repin, version_before
    from copg_pipelines.server.versions import get_pipeline, get_version, list_versions

    client = connect()
    found = get_pipeline(client, pipeline or dag)
    schedules = choose(client, found.pipeline_id, names or [])
    if not schedules:
        raise ClientError(f"pipeline {pipeline or dag!r} has no schedule to point anywhere", 404)
    _be_sure(schedules, names, every)
    known = list_versions(client, found.pipeline_id)
    for old in schedules:
        target = (
            get_version(client, found.pipeline_id, to) if to else version_before(known, pinned_version(old))
        )
        made, done = repin(client, old, target)
        print(f"{done}: schedule {made.display_name} runs {target.display_name}  {made.recurring_run_id}")


def _be_sure(schedules: list[Any], names: list[str] | None, every: bool) -> None:
    """Several schedules are touched only where that was asked for."""
    if len(schedules) > 1 and not names and not every:
        known = ", ".join(sorted({each.display_name for each in schedules}))
        raise ConfigError(
            f"there are {len(schedules)} schedules ({known}): name some with --name, or give --all"
        )
