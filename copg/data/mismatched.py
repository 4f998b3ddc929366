"""Completions of other prompts beside each prompt of the train split, and the column in which one is kept."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from copg.data.group_files import read_groups
from copg.records import Completion, Group, table_to_groups

MISMATCHED = "_mismatched"
"""Column of a referenced group: token ids of a completion of another prompt, and ``ref_logps`` after this."""
NUM_NEIGHBOURS = 16
"""Prompts before each whose completions are looked at."""
SAME = 16
"""Digits that the ids of prompts have in common which differ in white space or Unicode form alone."""


def read_beside_others(directory: Path) -> Iterator[tuple[Group, list[Completion]]]:
    """Groups of the train split, each with completions of other prompts: those of the group before it first.

    The first groups look back to the last, so that what each gets follows from the order of the split alone.
    """
    before = deque(_last_groups(directory), maxlen=NUM_NEIGHBOURS)
    for group in read_groups(directory, "train"):
        others = {each.id: each for each in reversed(before) if each.id[:SAME] != group.id[:SAME]}
        found = [completion for other in others.values() for completion in other.completions]
        before.append(replace(group))
        yield group, found


def _last_groups(directory: Path) -> list[Group]:
    """Some of the last of the train split, in their order."""
    file = pq.ParquetFile(directory / "train.parquet")
    if not file.num_row_groups:
        return []
    last = file.read_row_group(file.num_row_groups - 1)
    return table_to_groups(last.slice(max(0, last.num_rows - NUM_NEIGHBOURS)))


def mismatched_of(group: Group) -> tuple[list[int], float] | None:
    """Token ids and log-probability under the reference, nats, of a referenced group's completion of another
    prompt; None where it has none.
    """
    held = group.columns.get(MISMATCHED)
    return None if held is None else (held["token_ids"], held["ref_logps"])
