"""How much memory a task had in use: a process that is killed for it cannot say so itself."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from copg.lm.memory import container_limit, gib, in_use, to_lower

EVERY_S = 5.0
GROWN = 1.05
"""A new peak is noted once it is this many times the last one."""
KILLED_AT = 0.85
"""Share of the limit from which on a killed process is taken for one that was killed for its memory."""


@contextmanager
def noting_memory(
    stage: str,
    settings: Mapping[str, Any],
    note: Callable[[dict[str, Any]], None],
    *,
    every_s: float | None = None,
) -> Iterator[None]:
    """Note the peak over and over while the block runs, where this is a container with a limit.

    Args:
        note: gets ``{"peak": bytes, "limit": bytes, "lower": ["train.rows.tokens_per_batch=8192"]}``, in
            a thread of its own.
    """
    limit = container_limit()
    if limit is None:
        yield
        return
    ended, lower = threading.Event(), list(to_lower({stage: settings}))

    def watch() -> None:
        peak = 0
        while not ended.wait(every_s or EVERY_S):
            if (now := in_use()) > GROWN * peak:
                peak = now
                note({"peak": peak, "limit": limit, "lower": lower})

    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def why_killed(stage: str, memory: Mapping[str, Any]) -> str:
    """What a task that was killed died of, as far as what was noted tells."""
    if not memory:
        return "killed while it ran: out of memory, or stopped from outside"
    used = f"{gib(memory['peak'])} of {gib(memory['limit'])} of memory in use"
    if memory["peak"] < KILLED_AT * memory["limit"]:
        return f"killed while it ran, with {used}: stopped from outside, or by a sudden need of more"
    lower = f", or lower {', '.join(memory['lower'])}" if memory["lower"] else ""
    return f"killed while it ran, with {used}: raise placement.stages.{stage}.memory.limit{lower}"
