"""Progress of anything that takes longer than a breath: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_S = 15.0
SOME = 0.01
"""Share of the work that has to be done before its speed says how long the rest takes."""
_TASK: ContextVar[str] = ContextVar("task", default="")
_WARNED: ContextVar[list[str] | None] = ContextVar("warned", default=None)


@contextmanager
def work_of(task: str) -> Iterator[None]:
    """Name a task before all that is told of progress inside: several tasks print into one log."""
    token = _TASK.set(task)
    try:
        yield
    finally:
        _TASK.reset(token)


def warn(line: str) -> None:
    """Print a warning, and have whoever notes them in this thread know of it."""
    print(f"warning: {line}", file=sys.stderr, flush=True)
    noted = _WARNED.get()
    if noted is not None and line not in noted:
        noted.append(line)


@contextmanager
def noting_warnings() -> Iterator[Sequence[str]]:
    """Give the lines that ``warn`` gets inside, as they come: for what is read when the log is not."""
    noted: list[str] = []
    token = _WARNED.set(noted)
    try:
        yield noted
    finally:
        _WARNED.reset(token)


def _named(description: str) -> str:
    """``evaluate-copg_0.05, draw``: the task, then what its name does not say."""
    task = _TASK.get()
    if not task:
        return description
    more = "" if task.endswith(description) else description.removeprefix(task).strip(" ()")
    return f"{task}, {more}" if more else task


def track(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    count: Callable[[T], int] = lambda item: 1,
    before: int = 0,
    quiet_s: float = 2.0,
) -> Iterator[T]:
    """Yield ``items`` while standard error shows how many are done, how fast, and the time left.

    Args:
        description: what is being done, in a word or two.
        total: how many items there are, where the iterable does not know; with those of ``before``.
        count: how many one item stands for, where it is a batch; ``total`` counts in the same unit.
        before: how many were done earlier, by work that is now gone on with; they took no time here.
        quiet_s: seconds before which nothing is shown.
    """
    if total is None and isinstance(items, Sized):
        total = before + len(items)
    told = _bar if sys.stderr.isatty() else _lines
    yield from told(items, _named(description), total, count, before, quiet_s)


def _bar(
    items: Iterable[T],
    description: str,
    total: int | None,
    count: Callable[[T], int],
    before: int,
    quiet_s: float,
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(description, total=total, completed=before)
    shown = False
    try:
        for item in items:
            yield item
            progress.advance(task, count(item))
            if not shown and time.monotonic() - started > quiet_s:
                progress.start()
                shown = True
    finally:
        if shown:
            progress.stop()


def _lines(
    items: Iterable[T],
    description: str,
    total: int | None,
    count: Callable[[T], int],
    before: int,
    quiet_s: float,
) -> Iterator[T]:
    started = time.monotonic()
    printed = started + quiet_s - LINE_EVERY_S
    done = before
    for item in items:
        yield item
        done += count(item)
        now = time.monotonic()
        if now - printed > LINE_EVERY_S:
            printed = now
            rate = (done - before) / (now - started)
            of = f" of {total}" if total else ""
            # the first of many that are worked side by side has waited for all of them
            known = total and done - before >= SOME * (total - before)
            left = f", {(total - done) / rate:.0f} s left" if total and known else ""
            print(f"{description}: {done}{of}{left} ({rate:.1f}/s)", file=sys.stderr, flush=True)
