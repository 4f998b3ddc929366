"""One process at a time in a folder of this machine, or of a shared volume."""

import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from copg.data.parents import describe_process
from copg.errors import ConfigError
from copg.progress import warn


@contextmanager
def hold_folder(folder: Path, patience_s: float) -> Iterator[None]:
    """Keep other trainings out of a folder while the block runs.

    Args:
        folder: need not be there; the lock lies beside it.
        patience_s: seconds to wait for one that is there; it may be saving its last step.

    Raises:
        ConfigError: it is still there then; says who it is.
    """
    path = folder.parent / f".{folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    end, told = time.monotonic() + patience_s, False
    while (lock := _take(path)) is None:
        holder = _holder(path)
        if time.monotonic() >= end:
            raise ConfigError(f"{folder}: {holder} trains there; wait for it, or end it")
        if not told:
            print(f"{folder}: waits for {holder}, which trains there", file=sys.stderr, flush=True)
        told = True
        time.sleep(min(1.0, patience_s))
    try:
        lock.write(json.dumps({**describe_process(), "host": platform.node(), "since": _now()}))
        lock.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _take(path: Path) -> IO[str] | None:
    """The lock in a file, to be closed; None while somebody else has it."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:  # a volume without locks
            warn(f"{path}: cannot be locked: {error.strerror}")
            return file
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            file.truncate(0)
            return file
        file.close()  # who had it took the file away


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text())
        return f"process {found['pid']} on {found['host']}, since {found['since']},"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
