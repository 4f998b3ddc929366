"""What the logs of a run that is over tell of the tasks of whose states its server stopped telling.

Names of nodes follow from the DAG, ids from names, and a log is there for every pod that ran. What KFP 2.17's
launcher says in it (``backend/src/v2/component/launcher_v2.go``), in this order:

1. of a program that exited with 0, what that left, or that it left no such file; of any other that it failed;
2. once its output parameters were read, that it uploads; of uploads that failed for good, that they did;
3. ``publish success.``, at every end, after a failure too, and even where nothing could be published;
4. of any failure, a fatal line (``main.go``). Of a success nothing more.

So a task failed where 1, 2 or 4 say so, and ended well where 1, 2 and 3 follow one another and 4 is missing.
Two other ends look like that: a pod killed between 3 and 4 when its work was done and published, and one
killed there though MLMD or the cache had refused what it left. Of a pod killed before 3, and of a launcher
before 2.17, which says less, no log tells how it ended, unless the task itself had said why it gave up. The
run's last task, which reads the records, knows.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from copg_pipelines.server.client import Client
from copg_pipelines.server.logs import OURS, cause_in, pod_names, read_log
from copg_pipelines.server.nodes import MOST_ATTEMPTS, node_id
from copg_pipelines.server.outline import Outline
from copg_pipelines.server.tasks import (
    CANCELED,
    DRIVER,
    EXECUTOR,
    UNKNOWN,
    Task,
    Told,
    cancelled_at,
    task_name,
)

SAYS = r"{}\d{{4}} (?:[\d:.]+ +)?\d+ [\w.]+:\d+\] (?:{})"
"""A line of a Go program by its level; what a task prints without an end of line may stand before it."""
UNABLE = "|".join(
    (
        "Component failed to execute successfully",
        "All upload artifact attempts failed",
        "Skipping publish since execution is nil",
    )
)
FAILED = re.compile(rf"{SAYS.format('F', '')}|{SAYS.format('E', UNABLE)}|^panic: ", re.MULTILINE)
"""How the launcher and a driver say that they failed."""
ENDED_WELL = tuple(
    re.compile(SAYS.format("I", words))
    for words in (
        "ExecutorOutput: |output metadata file does not exist in ",
        "Executing uploadOutputArtifacts attempt: ",
        r"publish success\.",
    )
)
"""What the launcher says one after another of a program that exited with 0."""
NO_LOG = "no log of it could be had"
SILENT = "its log does not say how it ended"


def in_hindsight(client: Client, run: Any, told: Told, outline: Outline) -> Told:
    """What a server told of a run that is over, and what logs tell of the rest.

    Args:
        client: of the server.
        run: as the server tells it.
        told: of its tasks, by a server that stopped telling.
        outline: of its DAG.
    """
    logs = _Logs(client, run, outline, told)
    failed = "FAILED" if cancelled_at(run) is None else CANCELED
    tasks = [
        _judged(each, logs, failed, begun=True) if each.state == UNKNOWN else each for each in told.tasks
    ]
    known = {each.node.removesuffix(DRIVER) for each in tasks}
    for path in outline.paths if told.workflow else ():
        if (node := told.workflow + path) not in known:
            task = Task(name=task_name(node, outline.items), node=node, state=UNKNOWN)
            found = _judged(task, logs, failed, begun=False)
            if found.attempts or found.before:
                tasks.append(found)
    return replace(told, tasks=tuple(tasks))


def _judged(task: Task, logs: "_Logs", failed: str, *, begun: bool) -> Task:
    """How a task ended, as its latest log says; UNKNOWN with a reason where none does."""
    pods = list(task.pods)
    log = logs.read(pods[-1], begun=begun) if pods else None
    for attempt in range(len(pods), MOST_ATTEMPTS):  # those of which the server never told
        pod = logs.id(f"{task.node}(0).{EXECUTOR}({attempt})")
        if (found := logs.read(pod, begun=begun and not attempt)) is None:
            break
        pods, log = [*pods, pod], found
    now = replace(task, pods=tuple(pods), attempts=len(pods))
    if log is None:
        driver = logs.id(f"{task.node}{DRIVER}(0)")
        said = "" if task.pods else logs.read(driver, begun=begun) or ""
        if FAILED.search(said):
            node = f"{task.node}{DRIVER}"
            return replace(now, node=node, state=failed, pods=(driver,), attempts=1, message=cause_in(said))
        return replace(now, message=NO_LOG)
    if logs.all_well:
        return replace(now, state="SUCCEEDED")
    if (well := ended_well(log)) is None:
        return replace(now, message=SILENT)
    return replace(
        now, state="SUCCEEDED" if well else failed, message="" if well else cause_in(log, task.name)
    )


def ended_well(log: str) -> bool | None:
    """Whether the task of a log ended well, as KFP's launcher says; None where that cannot be told.

    Args:
        log: of a pod, with the lines of the task and of the launcher around it.
    """
    if FAILED.search(log):
        return False
    at = 0
    for words in ENDED_WELL:
        if (said := words.search(log, at)) is None:
            # a task that gave up may have been killed before the launcher could say so
            return False if OURS.search(log) else None
        at = said.end()
    return True


class _Logs:
    """Logs of a run's pods, each asked for by the names under which its server keeps others."""

    def __init__(self, client: Client, run: Any, outline: Outline, told: Told) -> None:
        self.client, self.run_id, self.outline, self.workflow = client, run.run_id, outline, told.workflow
        self.all_well = run.state == "SUCCEEDED"
        over = (each.pods[-1] for each in told.tasks if each.state == "SUCCEEDED" and each.pods)
        self.forms = next(filter(None, map(self._forms_of, over)), [])
        """Which of the names that a pod may have its log is kept under."""

    def _forms_of(self, pod: str) -> list[int]:
        names = enumerate(self._names(pod))
        return [at for at, name in names if read_log(self.client, self.run_id, name) is not None]

    def id(self, node: str) -> str:
        return node_id(self.workflow, node)

    def read(self, pod: str, *, begun: bool) -> str | None:
        """The log of a pod; of one that surely began under every name that it may have."""
        names = list(self._names(pod))
        first = [names[at] for at in self.forms]
        for name in dict.fromkeys([*first, *names] if begun else first):
            if (found := read_log(self.client, self.run_id, name)) is not None:
                return found
        return None

    def _names(self, pod: str) -> Iterator[str]:
        yield pod
        yield from pod_names(pod, self.outline)
