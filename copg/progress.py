"""Progress of anything that takes longer than a breath: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
LINE_EVERY_S = 15.0


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
    yield from (_bar if sys.stderr.isatty() else _lines)(items, description, total, count, before, quiet_s)


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
            left = f" of {total}, {(total - done) / rate:.0f} s left" if total else ""
            print(f"{description}: {done}{left} ({rate:.1f}/s)", file=sys.stderr, flush=True)
