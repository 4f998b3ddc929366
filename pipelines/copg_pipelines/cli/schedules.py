"""The commands for schedules on a KFP server."""

from typing import Annotated, Any

import typer

from copg.cli.command import Refusal, refuses
from copg.errors import ConfigError
from copg_pipelines.cli.options import NO_VERSION, ON_SERVER, connected, targeted
from copg_pipelines.target import Target, check_name

Names = Annotated[list[str] | None, typer.Option("--name", help="Which schedule. Repeatable.")]
Every = Annotated[bool, typer.Option("--all", help="All schedules of the pipeline.")]
NAMED = Refusal(("every",), lambda given: given["names"], "with --name")


@refuses(NO_VERSION)
@connected
@targeted("recipe", "sets", "run_dir", *ON_SERVER)
def schedule(
    target: Target,
    cron: Annotated[
        str, typer.Option(help="Five fields: minute, hour, day of month, month, day of week; or @daily.")
    ],
    time_zone: Annotated[str, typer.Option(help="By whose clock, such as Europe/Paris.")] = "UTC",
    server_time_zone: Annotated[
        str,
        typer.Option(help="Time zone of KFP's scheduler: its CRON_SCHEDULE_TIMEZONE; UTC unless set there."),
    ] = "UTC",
    name: Annotated[str, typer.Option(help="Of the schedule; default: the recipe's.")] = "",
    *,
    connect: Any,
) -> None:
    """Run a version on a schedule: pinned, one run at a time, nothing caught up; again replaces it."""
    from copg_pipelines.server.cron import next_time, server_cron
    from copg_pipelines.server.runs import ensure_experiment
    from copg_pipelines.server.schedules import Schedule, ensure_schedule
    from copg_pipelines.server.versions import chosen

    check_name("--name", name)
    six = server_cron(cron, time_zone, server_time_zone)
    if (coming := next_time(cron, time_zone)) is None:
        raise ConfigError(f"cron={cron!r} never comes: no month that it names has such a day")
    client = connect()
    pinned = chosen(client, target)
    group = ensure_experiment(client, target.pipeline_name)
    wanted = Schedule(
        name=name or (pinned.tags or {}).get("recipe") or target.pipeline_name,
        dag=target.dag,
        cron=six,
        says=f"{cron} {time_zone}",
        experiment_id=group.experiment_id,
        service_account=target.service_account,
        pipeline_root=target.pipeline_root,
    )
    made, done = ensure_schedule(client, wanted, pinned)
    print(f"{done}: schedule {made.display_name}  {made.recurring_run_id}")
    print(f"version: {pinned.display_name}")
    print(f"next: {coming.isoformat()}")
    print(f"schedule: {client.connection.page('recurringrun/details', made.recurring_run_id)}")


@refuses(NAMED)
@connected
@targeted("pipeline")
def unschedule(target: Target, names: Names = None, every: Every = False, *, connect: Any) -> None:
    """Delete schedules; runs that have begun go on."""
    from copg_pipelines.server.schedules import choose, delete
    from copg_pipelines.server.versions import get_pipeline

    client = connect()
    found = get_pipeline(client, target.pipeline_name)
    removed = choose(client, found.pipeline_id, names or [])
    _be_sure(removed, names, every)
    delete(client, removed)
    for each in removed:
        print(f"removed: schedule {each.display_name}  {each.recurring_run_id}")
    if not removed:
        print("there is no schedule")


@refuses(NAMED)
@connected
@targeted("pipeline")
def rollback(
    target: Target,
    to: Annotated[
        str, typer.Option(help="Version to run from now on; default: the one of the same recipe before.")
    ] = "",
    names: Names = None,
    every: Every = False,
    *,
    connect: Any,
) -> None:
    """Point schedules at an older version."""
    from copg_pipelines.server.connection import ClientError
    from copg_pipelines.server.schedules import choose, pinned_version, repin, version_before
    from copg_pipelines.server.versions import get_pipeline, get_version, list_versions

    client = connect()
    found = get_pipeline(client, target.pipeline_name)
    schedules = choose(client, found.pipeline_id, names or [])
    if not schedules:
        raise ClientError(f"pipeline {target.pipeline_name!r} has no schedule to point anywhere", 404)
    _be_sure(schedules, names, every)
    known = list_versions(client, found.pipeline_id)
    for old in schedules:
        older = (
            get_version(client, found.pipeline_id, to) if to else version_before(known, pinned_version(old))
        )
        made, done = repin(client, old, older, target.dag)
        print(f"{done}: schedule {made.display_name} runs {older.display_name}  {made.recurring_run_id}")


def _be_sure(schedules: list[Any], names: list[str] | None, every: bool) -> None:
    """Several schedules are touched only where that was asked for."""
    if len(schedules) > 1 and not names and not every:
        known = ", ".join(sorted({each.display_name for each in schedules}))
        raise ConfigError(
            f"there are {len(schedules)} schedules ({known}): name some with --name, or give --all"
        )
