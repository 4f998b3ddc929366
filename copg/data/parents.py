"""No process works on for one that is gone, however that one ended: nobody would take what it makes."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
GRACE_S = 330.0
"""After which a process that was asked to end is killed: a training may take as long to save."""


def describe_process(pid: int | None = None) -> dict[str, Any]:
    """A process as another one can find it again: its number alone may come to mean another.

    Args:
        pid: None for this process.

    Returns:
        ``{"pid": .., "started": .., "where": ..}``; nothing where the system does not tell.
    """
    pid = os.getpid() if pid is None else pid
    started, where = _started(pid), _where()
    return {"pid": pid, "started": started, "where": where} if started and where else {}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process that was described has ended; False where nobody here can say."""
    return bool(process) and process["where"] == _where() and _started(process["pid"]) != process["started"]


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, or did already.

    A worker that hangs in a library's code would hear nothing else.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_with(*processes: Mapping[str, Any], every_s: float = 1.0, grace_s: float = GRACE_S) -> None:
    """Send this process SIGTERM once one of others has ended, and SIGKILL if that does not end it.

    Args:
        processes: as described; those of which nobody here can say anything are not watched.
        every_s: seconds between two looks.
        grace_s: between the two signals.
    """
    others = (each for each in processes if each and each["pid"] != os.getpid())
    watched = [dict(each) for each in others if each["where"] == _where()]

    def watch() -> None:
        while not (gone := [each["pid"] for each in watched if is_gone(each)]):
            time.sleep(every_s)
        line = f"process {gone[0]} is gone, for which this one works: it ends"
        with suppress(OSError):  # perhaps nobody reads any more
            print(line, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGKILL)

    if watched:
        threading.Thread(target=watch, name="parents", daemon=True).start()


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 for one that is gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(fields[18])


def _where() -> str:
    """Within which numbers of processes mean something: this start of this machine, this namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""
