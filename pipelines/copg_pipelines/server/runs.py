"""Runs on a KFP server: submit a pinned version, find it again, run what failed again, cancel it."""

import itertools
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import kfp_server_api as api

from copg_pipelines.server.client import Client, every, made_once
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.tasks import CANCELED, ENDED, cancelled_at
from copg_pipelines.target import Target

CANCELING, LOST = "CANCELING", "LOST"
REPORTED = 3
"""Looks at a run within which whoever watches its workflow has reported of it."""


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


def latest_runs(client: Client, pipeline_id: str) -> list[Any]:
    """The newest run of a pipeline, and the one before where there is one.

    Raises:
        ClientError: it never ran.
    """

    def is_of(run: Any) -> bool:
        reference = run.pipeline_version_reference
        return reference is not None and reference.pipeline_id == pipeline_id

    found = list(itertools.islice(filter(is_of, list_runs(client)), 2))
    if not found:
        raise ClientError("the pipeline has no run yet", 404)
    return [client.runs.run_service_get_run(found[0].run_id), *found[1:]]


def ended(run: Any) -> bool:
    """Whether a run is over."""
    return run.state in ENDED


def outcome(run: Any) -> str:
    """The state of a run; CANCELED for one that was cancelled, of which a server says that it failed."""
    return CANCELED if cancelled_at(run) is not None else str(run.state or "PENDING")


def retry(client: Client, run_id: str) -> Any:
    """Run the failed tasks of a run again, and all that follows them.

    Raises:
        ClientError: it did not fail, or the server refuses.
    """
    run = client.runs.run_service_get_run(run_id)
    if run.state not in ("FAILED", CANCELED):
        raise ClientError(
            f"run {run_id} is {outcome(run)}: only one that failed or was cancelled can be resumed"
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


def cancel(client: Client, run_id: str, *, timeout_s: float, every_s: float) -> tuple[Any, str]:
    """Ask a run to stop, and wait until it has.

    The server marks the run before it looks for its workflow. Where that is gone nobody ever reports of it,
    so that the mark is all that comes of it.

    Args:
        client: of the server.
        run_id: the run.
        timeout_s: how long to wait for its end.
        every_s: between two looks.

    Returns:
        The run, and its outcome: CANCELED, LOST where nothing of it was there to be stopped, or as it ended
        meanwhile.

    Raises:
        ClientError: it was over already, the server refuses, or it did not end in time.
    """
    run = client.runs.run_service_get_run(run_id)
    if ended(run):
        raise ClientError(f"run {run_id} is {outcome(run)} already", 400)
    refused = run.state != CANCELING and _refuses_to_stop(client, run_id)
    looks, give_up = 0, time.monotonic() + timeout_s
    while not ended(run := client.runs.run_service_get_run(run_id)):
        looks += 1
        reported = CANCELING in [each.state for each in run.state_history or []]
        if refused and looks > REPORTED and not reported:
            return run, LOST
        if time.monotonic() + every_s > give_up:
            raise ClientError(f"run {run_id} is still {run.state} {timeout_s:g} s after it was asked to stop")
        time.sleep(every_s)
    return run, outcome(run)


def _refuses_to_stop(client: Client, run_id: str) -> bool:
    """Ask a run to stop; whether the server could not pass that on, though it marked the run."""
    try:
        client.runs.run_service_terminate_run(run_id)
    except ClientError:
        run = client.runs.run_service_get_run(run_id)
        if run.state != CANCELING and not ended(run):
            raise
        return True
    return False
