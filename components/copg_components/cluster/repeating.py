"""A thread that does the same thing over and over beside the work that waits for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(
    step: Callable[[], None], every_s: float, *, name: str, patience_s: float | None = None
) -> Iterator[None]:
    """Call ``step`` in a thread, again ``every_s`` seconds after each end, until the block is left.

    Args:
        step: also called at once; it deals with its own errors.
        every_s: seconds between two calls.
        name: of the thread.
        patience_s: how long leaving waits for a call that is under way; None: to its end.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            step()
            ended.wait(every_s)

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(patience_s)
