"""How far a run is, and about how long it takes yet: from its tasks, their records and what they print."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from copg.run.task_record import TaskRecord

LINE = re.compile(r"^\s*(?P<who>\S[^:]*): (?P<done>\d+) of (?P<total>\d+), (?P<left>\d+) s left \(")
"""What ``copg.progress`` prints of work whose end is known."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a running task said of itself last."""

    done: int
    total: int
    ends: float
    """When it is done with it, by its own rate, on the clock of whoever reads this."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is."""

    done: int
    """Tasks that ended well, now or in an earlier run whose work counts."""
    total: int
    left_s: float | None = None
    """Seconds; None where no task tells how long another will take."""
    at_least: bool = False
    """Whether there are tasks of which nothing is known yet."""

    def __str__(self) -> str:
        """``9 of 14 tasks, about 2 min left``."""
        left = (
            ""
            if not self.left_s
            else f", {'over' if self.at_least else 'about'} {duration(self.left_s)} left"
        )
        return f"{self.done} of {self.total} tasks{left}" if self.total else ""


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def read_line(line: str, running: Collection[str], now: float) -> tuple[str, Work] | None:
    """Which of the running tasks a line of the log is of, and what it says; None of any other line."""
    found = LINE.match(line)
    if found is None:
        return None
    named = found["who"].partition(", ")[0]
    task = next((each for each in running if each == named or each.endswith(f"-{named}")), None)
    if task is None:
        return None
    return task, Work(int(found["done"]), int(found["total"]), now + int(found["left"]))


def standing(
    tasks: Sequence[Mapping[str, Any]],
    records: Iterable[TaskRecord],
    running: Mapping[str, float],
    works: Mapping[str, Work],
    *,
    now: float,
    at_once: int,
) -> Standing:
    """How far a run is.

    A task takes as long as others of its stage took in this run, else as it took in an earlier one; one that
    says itself how long it takes is believed where no other is known.

    Args:
        tasks: of the run, as ``resolve`` plans them.
        records: of all that ran here, in this run or before.
        running: since when each task runs that does, on the clock of ``now``.
        works: what those tasks said last.
        now: seconds on that clock.
        at_once: tasks of one loop that run together.
    """
    known = list(records)
    by_key = {(each.task, each.key): each for each in known}
    ended = {t["task"] for t in tasks if _ended_well(by_key.get((t["task"], t["key"])))} - set(running)
    left: dict[str | None, list[float]] = {}
    unknown = False
    for task in tasks:
        if task["task"] in ended:
            continue
        takes = _takes(task, tasks, known)
        work = works.get(task["task"])
        if task["task"] in running:
            rest = (takes or 0.0) - (now - running[task["task"]])
            late = max(work.ends - now, 1.0) if work else None  # also of a task of which no other is known
            takes = rest if rest > 0 else late
        unknown = unknown or takes is None
        left.setdefault(task["loop"], []).append(takes or 0.0)
    seconds = sum(
        sum(each) if loop is None else max(max(each), sum(each) / min(at_once, len(each)))
        for loop, each in left.items()
    )
    return Standing(len(ended), len(tasks), seconds or None, at_least=unknown)


def _ended_well(record: TaskRecord | None) -> bool:
    return record is not None and record.state == "succeeded"


def _takes(
    task: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], records: Sequence[TaskRecord]
) -> float | None:
    """Seconds, from tasks of the same stage in the same loop of this run, or from an earlier run."""
    alike = {(t["task"], t["key"]) for t in tasks if (t["stage"], t["loop"]) == (task["stage"], task["loop"])}
    did = [each for each in records if _ended_well(each) and each.seconds > 0]
    now = [each.seconds for each in did if (each.task, each.key) in alike]
    before = [each.seconds for each in did if each.task == task["task"]]
    return fmean(now or before) if now or before else None
