"""The tasks of a run, each once, from the several nodes that a server tells of each.

A task of a DAG is several nodes: ``train``, its attempts, a driver before it, an ``executor`` and attempts at
that, which are the pods. Nodes of loops and of DAGs within the DAG come on top.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from copg_pipelines.server.nodes import ATTEMPT, Tree, last_part

EXECUTOR, DRIVER, ITERATION = "executor", "-driver", "iteration-item"
MACHINERY = re.compile(r"^(root|executor|system-.*|.*-driver|iteration-.*|for-loop-\d+|exit-handler-.*)$")
"""Nodes of the workflow engine that stand between the tasks."""
ITEM = re.compile(r"\.(for-loop-\d+)\(\d+\)\.iteration-iterations\((\d+):\d+\)")
"""Where a whole name tells which item of which loop a node belongs to."""
AGAIN = re.compile(r"-\d+$")
"""What the compiler appends to the second task of a name."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
CACHED, CANCELED, UNKNOWN = "CACHED", "CANCELED", "UNKNOWN"
BEHIND = timedelta(minutes=2)
"""After which a server that tells old states is taken to have stopped telling."""
Items = Mapping[str, Sequence[str]]
"""What each loop of a DAG goes over, by the loop's name there."""
NodesOf = Callable[[str], list[Any]]
"""The nodes of a workflow, by its name, in the form in which a server tells them."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a run."""

    name: str
    """As its record is called: ``validate``, ``train-copg_0.05``."""
    node: str
    """Whole name of its node, which no other task has."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, CACHED, FAILED, CANCELED, SKIPPED or UNKNOWN."""
    attempts: int = 0
    """How often it was begun."""
    start: datetime | None = None
    end: datetime | None = None
    pods: tuple[str, ...] = ()
    """Ids of the nodes whose logs tell of it, one an attempt."""
    message: str = ""
    """Why it failed, where the server says so."""
    outputs: Mapping[str, Any] | None = None

    @property
    def before(self) -> bool:
        """Whether it ended before its own program began: in the driver that looks up what it takes."""
        return last_part(self.node).endswith(DRIVER)

    @property
    def stage(self) -> str:
        """Name without that of a loop's item."""
        return AGAIN.sub("", last_part(self.node).removesuffix(DRIVER))

    def seconds(self, now: datetime | None = None) -> float | None:
        """How long it took, until ``now`` where it goes on; None where that is not known."""
        end = self.end or now
        return None if self.start is None or end is None else max(0.0, (end - self.start).total_seconds())

    def line(self, now: datetime, why: str = "") -> str:
        """``train-copg_0.05   FAILED   12.3 s  attempt 2  why``."""
        again = f"  attempt {self.attempts}" if self.attempts > 1 else ""
        seconds = self.seconds(now)
        took = "" if seconds is None else f"{seconds:>9.1f} s"
        because = f"  {why}" if why else ""
        return f"{self.name:<28} {self.state:<10}{took}{again}{because}".rstrip()


@dataclass(frozen=True)
class Told:
    """What a server tells of a run's tasks."""

    tasks: tuple[Task, ...]
    """In the order in which they began."""
    never: tuple[str, ...]
    """Names of those that were left out since something before them failed."""
    stopped: datetime | None = None
    """When the last node began of which the server told; None while it goes on telling."""
    workflow: str = ""
    followed: bool = False
    """Whether its workflow told of the rest."""
    drivers: tuple[Task, ...] = ()
    """Those at work or waiting, in whose pods KFP looks up what a task, a loop or the run takes, before its
    own pods begin."""


def tasks_of(run: Any, items: Items | None = None, nodes_of: NodesOf | None = None) -> Told:
    """The tasks of a run.

    Args:
        run: as the server tells it.
        items: of the DAG's loops; those of a loop that is not among them are told by their number.
        nodes_of: gives the nodes of a workflow that its server stopped telling of, or none.
    """
    nodes = list((run.run_details.task_details if run.run_details else None) or [])
    tree = Tree(nodes)
    stopped, asked_to_stop = _stopped(run, nodes), cancelled_at(run)
    known = nodes_of(tree.workflow) if nodes_of is not None and stopped is not None else []
    if known:
        nodes, tree = known, Tree(known)
    found = [_task(tree, name, nodes, items or {}) for name in sorted(tree.attempts) if _is_task(tree, name)]
    tasks = found if tree.workflow else _by_name(nodes)
    if stopped is not None and not known:
        tasks = [_doubtful(each, run.state, stopped) for each in tasks]
    if asked_to_stop is not None:
        tasks = [_cancelled(each, asked_to_stop) for each in tasks]
    last = datetime.max.replace(tzinfo=UTC)
    tasks.sort(key=lambda each: (each.start or last, each.end or last))
    drivers = [_task(tree, name, nodes, items or {}) for name in sorted(tree.attempts) if _drives(tree, name)]
    never = _never(nodes, tasks)
    return Told(tuple(tasks), never, stopped, tree.workflow, bool(known), tuple(drivers))


def _drives(tree: Tree, name: str) -> bool:
    """Whether a node is that of a driver which is not over."""
    if not last_part(name).endswith(DRIVER) or not tree.attempts[name]:
        return False
    node = tree.node(name)
    return node is not None and str(node.state) not in ENDED


def _is_task(tree: Tree, name: str) -> bool:
    """Whether a node of several attempts is a task: it has an executor, or pods and nothing within them."""
    part, attempts = last_part(name), tree.attempts[name]
    if part == EXECUTOR or name == tree.workflow or not attempts:
        return False
    if part.endswith(DRIVER):
        driver = tree.node(name)
        return driver is not None and driver.state == "FAILED"
    within = [last_part(child) for attempt in attempts for child in tree.children[attempt]]
    return EXECUTOR in within or not (within or MACHINERY.match(part))


def _task(tree: Tree, name: str, nodes: list[Any], items: Items) -> Task:
    attempts = tree.attempts[name]
    executors = [f"{attempt}.{EXECUTOR}" for attempt in attempts if f"{attempt}.{EXECUTOR}" in tree.attempts]
    pods = [pod for each in executors for pod in tree.attempts[each]] if executors else attempts
    node = tree.node(name)
    state = str((node and node.state) or "PENDING")
    if executors and not pods and state == "SUCCEEDED":
        state = CACHED
    elif pods and state == "RUNNING":
        state = _of_pod(nodes, last_part(pods[-1]), node)
    return Task(
        name=task_name(name, items),
        node=name,
        state=state,
        attempts=len(pods),
        start=_moment(node and node.start_time),
        end=_moment(node and node.end_time),
        pods=tuple(map(tree.id, pods)),
        message=_message(node),
        outputs=node and node.outputs,
    )


def _of_pod(nodes: list[Any], part: str, task: Any) -> str:
    """PENDING where every pod of that name which is not over waits, else RUNNING: their ids are not told."""
    open_ones = [each for each in nodes if each.display_name == part and str(each.state) not in ENDED]
    same = [each for each in open_ones if each.start_time == task.start_time]
    states = {str(each.state) for each in same or open_ones}
    return "PENDING" if states == {"PENDING"} else "RUNNING"


def task_name(name: str, items: Items) -> str:
    """Of a task, from the whole name of its node: ``evaluate-reference``, ``train-copg_0.05``."""
    part = last_part(name).removesuffix(DRIVER)
    outer = name.rpartition(".")[0]
    where = ITEM.findall(outer)
    if part == "iteration":  # a loop that has not begun
        return ATTEMPT.sub("", last_part(outer))
    if not where:
        return part
    loop, number = where[-1][0], int(where[-1][1])
    known = items.get(loop, ())
    item = known[number] if number < len(known) else str(number)
    return f"{loop if part == ITERATION else AGAIN.sub('', part)}-{item}"


def _by_name(nodes: list[Any]) -> list[Task]:
    """The tasks of a server that tells no ids: by their names, the latest of each."""
    shown: dict[str, Task] = {}
    for node in nodes:
        part = ATTEMPT.sub("", node.display_name or "")
        if part and not MACHINERY.match(part):
            shown[part] = Task(
                name=part,
                node=part,
                state=str(node.state or "PENDING"),
                start=_moment(node.start_time),
                end=_moment(node.end_time),
                message=_message(node),
                outputs=node.outputs,
            )
    return list(shown.values())


def _never(nodes: list[Any], tasks: list[Task]) -> tuple[str, ...]:
    left_out = [each.display_name for each in nodes if each.display_name and each.state is None]
    counted = Counter(AGAIN.sub("", each) for each in left_out if not MACHINERY.match(each))
    counted -= Counter(each.stage for each in tasks if each.before)
    return tuple(name if number == 1 else f"{name} ({number})" for name, number in sorted(counted.items()))


def _stopped(run: Any, nodes: list[Any]) -> datetime | None:
    """When the server stopped telling of nodes, though the run went on; None where it tells of all.

    What a launcher writes down itself, without a name, still comes in after that.
    """
    named = [each for each in nodes if each.display_name]
    latest = _latest(named)
    if latest is None:
        return None
    if run.state in ENDED:
        return latest if any(str(each.state) in ("RUNNING", "PENDING") for each in named) else None
    nameless = _latest([each for each in nodes if not each.display_name])
    return latest if nameless is not None and nameless - latest > BEHIND else None


def _latest(nodes: Iterable[Any]) -> datetime | None:
    times = [time for node in nodes for each in (node.start_time, node.end_time) if (time := _moment(each))]
    return max(times, default=None)


def _doubtful(task: Task, run_state: str, stopped: datetime) -> Task:
    """A task whose state may be old: what began in a run that succeeded has ended well."""
    if task.state not in ("RUNNING", "PENDING"):
        return task
    state = "SUCCEEDED" if run_state == "SUCCEEDED" else UNKNOWN
    return replace(task, state=state, start=None, end=None)


def _cancelled(task: Task, asked: datetime) -> Task:
    """A task that failed since its run was cancelled is told as that."""
    over = task.end is not None and task.end >= asked
    return replace(task, state=CANCELED) if task.state == "FAILED" and over else task


def cancelled_at(run: Any) -> datetime | None:
    """When a run was asked to stop, of which it then died; None for any other run.

    A server has no state for it: that of the run ends FAILED, and its history tells.
    """
    asked = None
    for each in run.state_history or []:
        if each.state == "RUNNING":  # resumed since
            asked = None
        elif each.state in ("CANCELING", CANCELED):
            asked = each.update_time
    return asked if run.state in ("FAILED", CANCELED) else None


def _message(node: Any) -> str:
    said = node.error.message if node is not None and node.error else ""
    return " ".join((said or "").split())


def _moment(time: datetime | None) -> datetime | None:
    """A time; None for one that a server says as the year 1 or 1970, for never."""
    return time if time is not None and time.year > 1970 else None
