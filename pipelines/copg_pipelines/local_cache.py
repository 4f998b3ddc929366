"""The cache of ``kfp.local``, believed where the run that filled it vouches for what it holds.

Its entries carry no digest, and one that changed would lead a run to other artifacts. What it does not answer
is answered by the records of the tasks, which do, some seconds later.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copg.digests import file_digest
from copg.errors import DamageError
from copg.run.task_record import RECORDS, read_record
from copg.stores.sealed import read_sealed, write_sealed

CACHE, VOUCHED = "cache", "cache.json"
"""Folder of the entries, and what a run says of them at its end, beside each other."""


@contextmanager
def vouched(root: Path) -> Iterator[None]:
    """Take away entries that nobody vouches for, and at the end vouch for those that are there then.

    Where the record of a task is damaged, which is named and removed, all entries go: the task has to work.
    """
    damaged = [path for path in sorted((root / RECORDS).glob("*.json")) if read_record(path) is None]
    for path in damaged:
        path.unlink()
    known = {} if damaged else _known(root)
    for entry in (root / CACHE).glob("*.json"):
        if known.get(entry.name) != file_digest(entry):
            entry.unlink()
    try:
        yield
    finally:
        entries = sorted((root / CACHE).glob("*.json"))
        write_sealed(root / VOUCHED, {entry.name: file_digest(entry) for entry in entries})


def _known(root: Path) -> dict[str, str]:
    try:
        return read_sealed(root / VOUCHED, remedy="the tasks look at their records instead")
    except DamageError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)
        return {}
