"""What the first records of a source hold, read as the stage ``validate`` would."""

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from copg.data.columns import exact_id
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.message_rows import may_gather, whole_trees
from copg.data.readers import Rows
from copg.data.shapes import RecordReader

ROWS = 200
"""As many records are read."""


@dataclass(slots=True)
class Sample:
    """The first records."""

    read: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    """How many were read as what, in words."""
    refused: list[str] = field(default_factory=list)
    """File, line and reason of each that is none."""
    rewarded: int = 0
    """How many came with rewards, preferences or thumbs."""
    columns: set[str] = field(default_factory=set)
    """What else they hold."""
    unused: Counter[str] = field(default_factory=Counter)
    """Of how many what is said to be no reward."""
    dropped: Counter[str] = field(default_factory=Counter)
    """How many have keys of messages that nothing reads, a line each."""
    texts: dict[int, set[str]] = field(default_factory=dict)
    """The completions of each prompt, by its digest."""
    rewards: dict[int, set[float]] = field(default_factory=dict)
    """The rewards that came with them."""

    @property
    def whole(self) -> bool:
        """Whether there are no more."""
        return self.read < ROWS

    @property
    def lacking(self) -> int:
        """Prompts with fewer than two distinct completions."""
        return sum(len(texts) < 2 for texts in self.texts.values())

    @property
    def tied(self) -> bool:
        """Whether rewards came with prompts of several completions, and differ in none of them."""
        several = [
            prompt for prompt, texts in self.texts.items() if len(texts) > 1 and prompt in self.rewards
        ]
        return bool(several) and all(len(self.rewards[prompt]) == 1 for prompt in several)


def read_first(records: str, reading: Reading, **where: Any) -> Sample:
    """The first ``ROWS`` records; none of a data set on the hub.

    Args:
        records: as the recipe names them.
        reading: how they are to be read.
        where: ``subset``, ``split`` and ``revision`` of a data set.

    Raises:
        RecordError: there is nothing to read under that name.
    """
    found, rows, reader = Sample(), Rows(records, **where), RecordReader(reading)
    if not rows.files and not Path(records).exists():
        return found
    for row in islice(whole_trees(rows) if may_gather(reading) else rows, ROWS):
        found.read += 1
        try:
            for record in reader.read(row.parse(), cells=row.cells):
                found.shapes[record.read_as] += 1
                found.rewarded += record.rewards is not None
                found.columns |= set(json.loads(record.columns))
                found.unused.update(filter(None, [record.unused]))
                found.dropped.update(filter(None, [record.dropped]))
                prompt = exact_id(record.prompt)
                found.texts.setdefault(prompt, set()).update(record.texts)
                values = {reward for reward in record.rewards or () if reward is not None}
                found.rewards.setdefault(prompt, set()).update(values)
        except Defect as defect:
            found.refused.append(f"{row.file}:{row.line}: {defect}")
    return found


def first_of(records: str, validate: Any) -> Sample:
    """``read_first`` by the settings of ``validate``."""
    return read_first(
        records,
        Reading(validate.columns, validate.read_as, validate.completion == "all_turns"),
        subset=validate.subset,
        split=validate.dataset_split,
        revision=validate.revision,
    )
