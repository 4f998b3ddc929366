"""Runs on a KFP server: submit a pinned version, show its tasks, run the failed ones again."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import kfp_server_api as api

from copg_pipelines.server.client import Client, every, made_once
from copg_pipelines.server.connection import ClientError
from copg_pipelines.target import Target

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
MACHINERY = re.compile(r"^(root|executor|system-.*|.*-driver|iteration-iterator)$")
"""Nodes of the workflow engine that stand between the tasks."""
REPORT, PAGE = "report", "page"


def ensure_experiment(client: Client, name: str) -> Any:
    """The experiment of that name, made where there is none."""

    def find() -> Any | None:
        listing = client.experiments.experiment_service_list_experiments
        pages = every(lambda **page: listing(namespace=client.namespace, **page), "experiments")
        return next((each for each in pages if each.display_name == name), None)

    found = find()
    if found is None:
        wanted = api.V2beta1Experiment(display_name=name, namespace=client.namespace or None)
        try:
            found = client.experiments.experiment_service_create_experiment(wanted)
        except ClientError as error:
            found = find() if error.status == 409 else None
            if found is None:
                raise
    return found


def submit(client: Client, target: Target, name: str, **what: Any) -> Any:
    """Start a run, once, even where the answer to the request gets lost.

    Args:
        client: of the server.
        target: by whose name runs are grouped, and how this one runs.
        name: how that of the run begins.
        what: ``pipeline_version_reference`` or ``pipeline_spec``; parameters are those compiled into it.
    """
    group = ensure_experiment(client, target.pipeline_name)
    run = api.V2beta1Run(
        display_name=f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M} {uuid.uuid4().hex[:8]}",
        experiment_id=group.experiment_id,
        runtime_config=api.V2beta1RuntimeConfig(parameters={}, pipeline_root=target.pipeline_root or None),
        service_account=target.service_account or None,
        **what,
    )

    def find() -> Any | None:
        runs = list_runs(client, group.experiment_id)
        return next((each for each in runs if each.display_name == run.display_name), None)

    make = client.runs.run_service_create_run
    return made_once(client, lambda: make(run), find, see=f"status {target.dag}")


def list_runs(client: Client, experiment_id: str = "") -> Any:
    """The runs of an experiment, else of the namespace, the newest first, page after page."""
    where = {"experiment_id": experiment_id} if experiment_id else {"namespace": client.namespace}
    listing = client.runs.run_service_list_runs
    return every(lambda **page: listing(sort_by="created_at desc", **where, **page), "runs")


def latest_run(client: Client, pipeline_id: str) -> Any:
    """The newest run of a pipeline.

    Raises:
        ClientError: it never ran.
    """
    for run in list_runs(client):
        reference = run.pipeline_version_reference
        if reference is not None and reference.pipeline_id == pipeline_id:
            return client.runs.run_service_get_run(run.run_id)
    raise ClientError("the pipeline has no run yet", 404)


def tasks_of(run: Any) -> list[Any]:
    """The tasks of a run by the time they began, without the workflow engine's own nodes."""
    details = run.run_details.task_details if run.run_details else None
    shown = [each for each in details or [] if each.display_name and not MACHINERY.match(each.display_name)]
    last = datetime.max.replace(tzinfo=UTC)
    return sorted(shown, key=lambda each: each.start_time or each.create_time or last)


def show_run(client: Client, run: Any, say: Callable[[str], None]) -> None:
    """Say how a run stands, task by task, and where to see it."""
    say(f"run {run.run_id}  {run.display_name}  {run.state or 'PENDING'}")
    for task in tasks_of(run):
        say(task_line(task))
    say_addresses(client, run, say)


def say_addresses(client: Client, run: Any, say: Callable[[str], None]) -> None:
    """Say where the pages of a run and of its report are."""
    address = client.connection.page("runs/details", run.run_id)
    say(f"run: {address}")
    report = next((task for task in tasks_of(run) if task.display_name == REPORT), None)
    if report is None or report.state != "SUCCEEDED":
        return
    artifacts = (report.outputs or {}).get(PAGE)
    if artifacts is not None and artifacts.artifact_ids:
        say(f"report: {client.connection.page('artifacts', artifacts.artifact_ids[0])}")
    else:  # no KFP server tells the outputs of a task yet
        say(f"report: {address} (task {REPORT}, output {PAGE})")


def why_not_succeeded(run: Any) -> str:
    """In one line, why a run ended as it did."""
    failed = [task for task in tasks_of(run) if task.state == "FAILED"]
    reasons = [
        error.message for error in (*(task.error for task in failed), run.error) if error and error.message
    ]
    which = f" in {', '.join(dict.fromkeys(task.display_name for task in failed))}" if failed else ""
    return f"run {run.run_id} is {run.state}{which}" + (
        f": {' '.join(reasons[0].split())}" if reasons else ""
    )


def retry(client: Client, run_id: str) -> Any:
    """Run the failed tasks of a run again, and all that follows them.

    Raises:
        ClientError: it did not fail, or the server refuses.
    """
    run = client.runs.run_service_get_run(run_id)
    if run.state not in ("FAILED", "CANCELED"):
        raise ClientError(
            f"run {run_id} is {run.state or 'PENDING'}: only one that failed or was cancelled can be resumed"
        )
    try:
        client.runs.run_service_retry_run(run_id)
    except ClientError as error:
        if not error.unsure:
            raise
        again = client.runs.run_service_get_run(run_id)
        if again.state in ENDED:  # nothing has begun
            raise
    return run


def ended(run: Any) -> bool:
    """Whether a run is over."""
    return run.state in ENDED


def task_line(task: Any) -> str:
    """``train            RUNNING       12.3 s``, with the reason when it failed."""
    state = str(task.state or "PENDING")
    message = task.error.message if task.error and task.error.message else ""
    why = f"  {' '.join(message.split())}" if message and state == "FAILED" else ""
    return f"{task.display_name:<28} {state:<10}{_seconds(task, datetime.now(UTC))}{why}"


def _seconds(task: Any, now: datetime) -> str:
    if task.start_time is None or task.start_time.year <= 1970:  # the server's way to say never
        return ""
    end = task.end_time if task.end_time and task.end_time.year > 1970 else now
    took = max(timedelta(), end - task.start_time).total_seconds()
    return f"{took:>9.1f} s"
