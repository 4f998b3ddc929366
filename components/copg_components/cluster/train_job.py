"""A training over several nodes: a Kubeflow TrainJob, followed to its end and never left behind.

Its pods do not see a task's artifacts, so these pass through a folder under the directory of the runs, which
is on a volume that all of them mount.
"""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST, read_manifest
from copg.training.launch import ALIVE, ProcessError, raise_failure, torchrun_command, write_request
from copg_components.cluster.api import TrainJobs, Unreachable, connect
from copg_components.cluster.leftovers import EXCHANGE
from copg_components.cluster.node import MEMORY, WORKER
from copg_components.cluster.repeating import repeating
from copg_components.cluster.tolerations import tolerating
from copg_components.cluster.waiting import NO_POD_S, condition, patiently, wait_for

RUN_LABEL = "copg/run"
"""Of a job: the run that created it. Another run with the same task follows it, and leaves it alone."""
SHUTDOWN_S = 100
"""For a checkpoint after SIGTERM; the runtime's pods are killed after 120 s."""
EVERY_S = 5.0


def train_on_nodes(
    template: Mapping[str, Any],
    config: Mapping[str, Any],
    key: str,
    run_dir: Path,
    *,
    run: str,
    referenced: Path,
    policy: Path,
    training: Path,
    jobs: TrainJobs | None = None,
    every_s: float = EVERY_S,
    no_pod_s: float = NO_POD_S,
) -> dict[str, float]:
    """Train in a TrainJob; a task that is tried again takes up the one that is still running.

    Args:
        template: a TrainJob without name and command.
        config: of the stage ``train``, as plain values.
        key: digest of everything that the result depends on.
        run_dir: directory of the runs, on a volume of all pods.
        run: id of this run.
        referenced: artifact of schema ``referenced``.
        policy: where the policy goes.
        training: where the record of the training goes.
        jobs: of the namespace; None finds them from this pod.
        every_s: seconds between two looks at the job.
        no_pod_s: after so long without a pod, the job is given up.

    Returns:
        The metrics of the stage.

    Raises:
        ConfigError: the cluster refuses, or makes no pods; the line says what it lacks, or its own words.
        CopgError: a mistake of the user's that ended the training.
        ProcessError: the training failed otherwise.
    """
    folder = run_dir / EXCHANGE / key[:20]
    if not (folder / "training" / MANIFEST).is_file():
        job = _named(template, key, run, folder)
        _run(jobs or connect(), job, folder, config, referenced, every_s, no_pod_s)
    for name, target in (("policy", policy), ("training", training)):
        shutil.copytree(folder / name, target, dirs_exist_ok=True)
    metrics: dict[str, float] = read_manifest(training, schema="training").facts["metrics"]
    (folder / ALIVE).unlink(missing_ok=True)
    for part in ("referenced", MEMORY):  # the rest once this task's outputs are stored
        shutil.rmtree(folder / part, ignore_errors=True)
    return metrics


def _named(template: Mapping[str, Any], key: str, run: str, folder: Path) -> dict[str, Any]:
    labels = {**template["metadata"]["labels"], RUN_LABEL: run}
    metadata = {**template["metadata"], "name": f"copg-train-{key[:16]}", "labels": labels}
    command = torchrun_command(WORKER, folder, shutdown_s=SHUTDOWN_S)
    trainer = {**template["spec"]["trainer"], "command": command}
    return {**template, "metadata": metadata, "spec": {**template["spec"], "trainer": trainer}}


def _run(
    jobs: TrainJobs,
    job: dict[str, Any],
    folder: Path,
    config: Mapping[str, Any],
    referenced: Path,
    every_s: float,
    no_pod_s: float,
) -> None:
    name, result = job["metadata"]["name"], folder / "training" / MANIFEST
    with _giving_signs(folder, every_s), _deleted_in_the_end(jobs, name, _run_of(job)):
        if not _takes_up(jobs, name, result, every_s):
            _lay_out(folder, config, referenced)
            job = patiently(lambda: tolerating(jobs, job), every_s)
            patiently(lambda: jobs.create(job), every_s)
            print(f"created TrainJob {name} in namespace {jobs.namespace}", flush=True)
        with _log_of(jobs, name, every_s):
            failure = wait_for(jobs, name, folder, every_s, no_pod_s=no_pod_s)
    if result.is_file():
        return
    if failure:
        raise_failure(folder, f"TrainJob {name}: {failure}")
    raise ProcessError(f"TrainJob {name} ended well but left nothing in {folder}: do its pods mount it?")


def _lay_out(folder: Path, config: Mapping[str, Any], referenced: Path) -> None:
    """What the pods read; what an earlier attempt left half done goes."""
    paths = {part: folder / part for part in ("referenced", "policy", "training")}
    for path in (*paths.values(), folder / MEMORY):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(referenced, paths["referenced"])
    write_request(folder, config, **paths)


def _takes_up(jobs: TrainJobs, name: str, result: Path, every_s: float) -> bool:
    """Whether a job of that name is running or done; one without a future or a result is waited away."""
    job = patiently(lambda: jobs.get(name), every_s)
    if job is None:
        return False
    over = condition(job, "Failed") or (condition(job, "Complete") and not result.is_file())
    if not (over or "deletionTimestamp" in job["metadata"]):
        print(f"following TrainJob {name}, which run {_run_of(job)} created", flush=True)
        return True
    patiently(lambda: jobs.delete(name), every_s)
    while patiently(lambda: jobs.get(name), every_s) is not None:
        time.sleep(every_s)
    return False


def _run_of(job: Mapping[str, Any]) -> str:
    return str(job["metadata"].get("labels", {}).get(RUN_LABEL, ""))


@contextmanager
def _giving_signs(folder: Path, every_s: float) -> Iterator[None]:
    """Let the pods know that they are followed, also while the server is away; without signs they end."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ALIVE).touch()

    def touch() -> None:
        try:
            (folder / ALIVE).touch()
        except OSError as error:
            print(f"{folder / ALIVE} cannot be touched ({error}); trying again", flush=True)

    with repeating(touch, every_s, name="signs"):
        yield


@contextmanager
def _deleted_in_the_end(jobs: TrainJobs, name: str, run: str) -> Iterator[None]:
    """However this ends, SIGTERM included: the job goes if it is this run's, and its pods save a checkpoint.

    Where KFP cancels a task, no signal reaches it: then the job ends for want of signs.
    """

    def stop(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            if (job := jobs.get(name)) is not None and _run_of(job) == run:
                jobs.delete(name)
        except Unreachable as error:
            print(f"TrainJob {name} could not be deleted ({error}); it ends by itself", flush=True)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _log_of(jobs: TrainJobs, name: str, every_s: float) -> Iterator[None]:
    """Print the log of the first node as it comes, each line once."""
    seen = ""

    def follow() -> None:
        nonlocal seen
        try:
            for time_of_line, line in jobs.log(name):
                if time_of_line > seen:
                    print(line, flush=True)
                    seen = time_of_line
        except Unreachable:
            pass  # whether the server is away is for the one who waits to say

    with repeating(follow, every_s, name="log", patience_s=2 * every_s):
        yield
