"""Schedules on a KFP server: one of each name, pinned to a version, one run at a time, nothing caught up.

A recurring run cannot be changed: the new one is made first, then the old ones are deleted. Whatever goes
wrong between leaves one too many rather than none, and the same command again puts that right.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import kfp_server_api as api

from copg_pipelines.server.client import Client, every, made_once
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.versions import reference_to, version_name

ENABLE, DISABLE = "ENABLE", "DISABLE"
ORPHAN = "ORPHAN"
"""What becomes of the workflows of a schedule that is deleted: nothing. Anything else deletes them with it,
the running one too."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a version of a pipeline is to run."""

    name: str
    dag: str
    """Which one the version holds, for hints."""
    cron: str
    """Six fields, by the clock of the server's scheduler."""
    says: str
    """What the user asked for: five fields and a time zone."""
    experiment_id: str
    service_account: str = ""
    pipeline_root: str = ""
    starts: datetime | None = None
    ends: datetime | None = None
    mode: str = ENABLE

    def request(self, version: Any) -> Any:
        """The ``V2beta1RecurringRun`` that runs ``version`` on this schedule."""
        return api.V2beta1RecurringRun(
            display_name=self.name,
            description=f"{self.says}; version {version_name(version)}",
            pipeline_version_reference=reference_to(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters={}, pipeline_root=self.pipeline_root or None),
            service_account=self.service_account or None,
            max_concurrency="1",
            trigger=api.V2beta1Trigger(
                cron_schedule=api.V2beta1CronSchedule(
                    cron=self.cron, start_time=self.starts, end_time=self.ends
                )
            ),
            mode=self.mode,
            no_catchup=True,
            experiment_id=self.experiment_id,
        )


def list_schedules(client: Client, pipeline_id: str) -> list[Any]:
    """The schedules of a pipeline, the newest first."""
    listing = client.recurring.recurring_run_service_list_recurring_runs
    found = every(
        lambda **page: listing(sort_by="created_at desc", namespace=client.namespace, **page),
        "recurring_runs",
    )
    return [run for run in found if run.pipeline_version_reference and _pipeline(run) == pipeline_id]


def ensure_schedule(client: Client, schedule: Schedule, version: Any) -> tuple[Any, str]:
    """Make sure that there is this schedule and no other of its name.

    Returns:
        The recurring run, and what was done: ``made``, ``replaced``, ``enabled`` or ``unchanged``.
    """
    wanted = schedule.request(version)
    same_name = [s for s in list_schedules(client, version.pipeline_id) if s.display_name == schedule.name]
    there = next((each for each in same_name if _same_schedule(each, wanted)), None)
    if there is None:
        made, done = _make(client, wanted, same_name, schedule.dag), "replaced" if same_name else "made"
    elif str(there.status) == "DISABLED" and schedule.mode == ENABLE:
        client.recurring.recurring_run_service_enable_recurring_run(there.recurring_run_id)
        made, done = there, "enabled"
    else:
        made, done = there, "unchanged"
    others = [each for each in same_name if each.recurring_run_id != made.recurring_run_id]
    delete(client, others)
    return made, "replaced" if others else done


def choose(client: Client, pipeline_id: str, names: list[str]) -> list[Any]:
    """The schedules of those names, or all of a pipeline's.

    Raises:
        ClientError: there is none of a name.
    """
    schedules = list_schedules(client, pipeline_id)
    known = sorted({each.display_name for each in schedules})
    for name in names:
        if name not in known:
            raise ClientError(f"schedule={name!r} is unknown; there are: {', '.join(known) or 'none'}", 404)
    return [each for each in schedules if not names or each.display_name in names]


def repin(client: Client, old: Any, version: Any, dag: str) -> tuple[Any, str]:
    """Point a schedule at another version; a schedule that was off stays off. See ``ensure_schedule``."""
    trigger, config = old.trigger.cron_schedule, old.runtime_config
    if trigger is None:
        raise ClientError(
            f"schedule {old.display_name!r} is periodic, not cron: it was not made by this command"
        )
    schedule = Schedule(
        name=old.display_name,
        dag=dag,
        cron=trigger.cron,
        says=(old.description or trigger.cron).partition("; version ")[0],
        experiment_id=old.experiment_id,
        service_account=old.service_account or "",
        pipeline_root=(config.pipeline_root if config else "") or "",
        starts=trigger.start_time,
        ends=trigger.end_time,
    )
    off = str(old.status) == "DISABLED"
    return ensure_schedule(client, replace(schedule, mode=DISABLE) if off else schedule, version)


def version_before(versions: list[Any], pinned_id: str) -> Any:
    """The version of the same recipe that was made just before the pinned one.

    Args:
        versions: of the pipeline, the newest first.
        pinned_id: of the version that a schedule runs now.

    Raises:
        ClientError: there is no earlier one.
    """
    ids = [each.pipeline_version_id for each in versions]
    if pinned_id not in ids:
        raise ClientError("the version that the schedule runs is deleted; name the one to run with --to", 404)
    pinned = versions[ids.index(pinned_id)]
    older = versions[ids.index(pinned_id) + 1 :]
    found = next((each for each in older if _recipe(each) == _recipe(pinned)), None)
    if found is None:
        raise ClientError(f"there is no version of the same recipe before {version_name(pinned)}", 404)
    return found


def pinned_version(schedule: Any) -> str:
    """Id of the version that a schedule runs."""
    return str(schedule.pipeline_version_reference.pipeline_version_id or "")


def _recipe(version: Any) -> str:
    return str((version.tags or {}).get("recipe", ""))


def _pipeline(schedule: Any) -> str:
    return str(schedule.pipeline_version_reference.pipeline_id or "")


def _make(client: Client, wanted: Any, before: list[Any], dag: str) -> Any:
    known = {each.recurring_run_id for each in before}
    pipeline_id = wanted.pipeline_version_reference.pipeline_id

    def find() -> Any | None:
        new = (each for each in list_schedules(client, pipeline_id) if each.recurring_run_id not in known)
        return next((each for each in new if _same_schedule(each, wanted)), None)

    make = client.recurring.recurring_run_service_create_recurring_run
    return made_once(client, lambda: make(wanted), find, see=f"versions {dag}")


def delete(client: Client, schedules: list[Any]) -> None:
    """Delete schedules; runs that have begun go on, and one that is gone already is none the worse."""
    for each in schedules:
        try:
            client.recurring.recurring_run_service_delete_recurring_run(
                each.recurring_run_id, propagation_policy=ORPHAN
            )
        except ClientError as error:
            if error.status != 404:
                raise


def _same_schedule(known: Any, wanted: Any) -> bool:
    """Whether a recurring run does what is wanted; whether it is switched on does not count.

    Service account and pipeline root count where they are given: a server fills in its own.
    """
    root = wanted.runtime_config.pipeline_root
    return (
        _compared(known) == _compared(wanted)
        and wanted.service_account in (None, known.service_account)
        and root in (None, known.runtime_config and known.runtime_config.pipeline_root)
    )


def _compared(schedule: Any) -> tuple[Any, ...]:
    """What must be equal for two recurring runs to do the same."""
    cron, config = schedule.trigger.cron_schedule, schedule.runtime_config
    return (
        schedule.display_name,
        pinned_version(schedule),
        *((cron.cron, _moment(cron.start_time), _moment(cron.end_time)) if cron else ()),
        bool(schedule.no_catchup),
        str(schedule.max_concurrency),
        (config.parameters if config else None) or {},
    )


def _moment(time: datetime | None) -> float | None:
    """Seconds since 1970; None for no time, which a server may say as 1970."""
    return time.timestamp() if time is not None and time.year > 1970 else None
