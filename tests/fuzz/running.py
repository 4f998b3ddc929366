"""Runs one case within bounds, and says in which line it was refused."""

import random
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copg.errors import CopgError
from tests.fuzz.cases import CASES
from tests.fuzz.record_files import MOST_CHARS, Made

MOST_S, MOST_KIB = 5.0, 2**20
"""Of one case: seconds of the processor, and what it may add to the memory of the process."""
PEAK = Path("/proc/self/clear_refs")
"""Where Linux forgets the most memory that a process had: written ``5``."""


@contextmanager
def bounded(what: str, most_kib: int = MOST_KIB) -> Iterator[None]:
    """At most so many seconds of the processor, however busy the machine is, and so much memory.

    Raises:
        TimeoutError: it took longer.
        MemoryError: it took more.
    """

    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"{what}: more than {MOST_S} s")

    PEAK.write_text("5")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handler = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MOST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > most_kib:
        raise MemoryError(f"{what}: more than {most_kib} KiB")


def run_case(kind: str, seed: str, folder: Path, made: Made) -> str:
    """The line in which a case was refused; empty where it was taken."""
    folder.mkdir()
    try:
        with bounded(f"{kind} {seed}"):
            CASES[kind][1](random.Random(f"{kind} {seed}"), folder, made)
    except CopgError as error:
        told = str(error)
        assert told
        assert "\n" not in told, told
        assert len(told) < MOST_CHARS, told[:200]
        return told
    except BaseException as error:
        error.add_note(f"case {kind!r}, seed {seed!r}")
        raise
    finally:
        shutil.rmtree(folder)
    return ""
