"""Waits for the end of a TrainJob, and says what it waits for in the words of the cluster."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from copg.errors import ConfigError, DamageError, MemoryLimitError
from copg.stores.sealed import read_sealed
from copg.training.launch import FAILURE
from copg_components.cluster.api import TrainJobs, Unreachable
from copg_components.cluster.node import memory_noted
from copg_components.cluster.tolerations import lost_to_kueue

T = TypeVar("T")
NO_POD_S = 300.0
"""A job that has had no pod for so long after it was admitted will have none."""


def wait_for(jobs: TrainJobs, name: str, folder: Path, every_s: float, *, no_pod_s: float) -> str:
    """Empty once the job is complete, else why it failed; what it waits for is printed.

    Args:
        folder: where its processes note down why they failed.
        every_s: seconds between two looks.
        no_pod_s: after so long without a pod, it is given up.

    Raises:
        ConfigError: it has no pod and will have none; with the latest warning of the cluster.
        MemoryLimitError: a pod was killed for want of memory.
    """
    said, podless_since = "", time.monotonic()
    while True:
        job = patiently(lambda: jobs.get(name), every_s)
        if job is None:
            return "someone deleted it"
        if condition(job, "Complete"):
            return ""
        pods = patiently(lambda: jobs.pods(name), every_s)
        _check_memory(pods, folder)
        if failed := condition(job, "Failed"):
            return f"{failed.get('reason', '')}: {failed.get('message', '')}"
        if _made_a_mistake(folder):  # a runtime that starts lost nodes again would start it again as well
            return "its processes ended by a mistake"
        if pods or condition(job, "Suspended"):
            podless_since = time.monotonic()
        elif time.monotonic() - podless_since > no_pod_s:
            words = patiently(lambda: jobs.words(name), every_s) or "no event says why; does Trainer run?"
            raise ConfigError(f"TrainJob {name} has no pod after {no_pod_s:g} s: {words}")
        state = _state(jobs, name, job, pods, every_s)
        if state != said:
            print(f"TrainJob {name}: {state}", flush=True)
            said = state
        time.sleep(every_s)


def _state(jobs: TrainJobs, name: str, job: Mapping[str, Any], pods: list[Any], every_s: float) -> str:
    suspended = condition(job, "Suspended")
    state = "suspended: it waits for its place in the queue" if suspended else "admitted"
    if lost := lost_to_kueue(job):
        state += f"; Kueue's flavor took the place of tolerations of {lost}: add them to the ResourceFlavor"
    waiting = [pod for pod in pods if pod.status.phase in (None, "Pending")]
    if pods and not waiting:
        return state
    if not suspended:
        state += f": {len(waiting)} of {len(pods)} pods wait" if pods else ": no pod yet"
    words = patiently(lambda: jobs.words(name), every_s)
    return f"{state}; {words}" if words else state


def _check_memory(pods: list[Any], folder: Path) -> None:
    for pod in pods:
        for container in pod.status.container_statuses or []:
            for state in (container.state, container.last_state):
                if state and state.terminated and state.terminated.reason == "OOMKilled":
                    raise MemoryLimitError(_killed(pod, folder))


def _killed(pod: Any, folder: Path) -> str:
    """Of what memory a pod died, as its cluster and what it noted itself tell."""
    used, lower = memory_noted(folder, pod.spec.hostname or pod.metadata.name)
    return (
        f"pod {pod.metadata.name} was killed at its memory limit{_limit(pod)}"
        f"{used and f', with {used} in use when it was last looked at'}; raise placement.stages.train.memory."
        f"limit, or lower {lower or 'train.rows.tokens_per_batch'}"
    )


def _limit(pod: Any) -> str:
    node = next((each for each in pod.spec.containers if each.name == "node"), None)
    limits = (node.resources.limits or {}) if node is not None and node.resources else {}
    return f", {limits['memory']}" if "memory" in limits else ""


def _made_a_mistake(folder: Path) -> bool:
    """Whether a process ended by a mistake of the user's, which another start would meet again."""
    try:
        return bool(read_sealed(folder / FAILURE, remedy="it is taken for none").get("kind"))
    except DamageError:
        return False


def condition(job: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of a job that holds."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


def patiently(ask: Callable[[], T], every_s: float) -> T:
    """Ask until the server answers: it may be away for a while, the training goes on."""
    warned = False
    while True:
        try:
            return ask()
        except Unreachable as error:
            if not warned:
                print(f"Kubernetes does not answer ({error}); trying again", flush=True)
                warned = True
            time.sleep(every_s)
