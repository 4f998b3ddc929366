"""What the first records of a source hold, read as the stage ``validate`` would."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from copg.data.checks import Check, record_checks
from copg.data.columns import exact_id
from copg.data.counts import count_records
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.message_rows import may_gather, whole_trees
from copg.data.readers import Rows
from copg.data.shapes import Record, RecordReader

ROWS = 200
"""As many records are read."""
OF_EACH = record_checks(max_prompt_chars=None, max_completion_chars=None, min_completions=0)
"""What is expected of a record, wherever its completions come from."""
STRINGS, NUMBERS = pa.list_(pa.string()), pa.list_(pa.float64())


@dataclass(slots=True)
class Sample:
    """The first records."""

    read: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    """How many were read as what, in words."""
    refused: list[str] = field(default_factory=list)
    """File, line and reason of each that is none."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Of how many of these, in the words of the checks."""
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
    told: list[str] = field(default_factory=list)
    """What lies there and is not read, and files that are read as another kind than their names say."""

    def add(self, record: Record) -> None:
        """Count one that is right."""
        self.shapes[record.read_as] += 1
        self.rewarded += record.rewards is not None
        self.columns |= set(json.loads(record.columns))
        self.unused.update(filter(None, [record.unused]))
        self.dropped.update(filter(None, [record.dropped]))
        prompt = exact_id(record.prompt)
        self.texts.setdefault(prompt, set()).update(record.texts)
        values = {reward for reward in record.rewards or () if reward is not None}
        self.rewards.setdefault(prompt, set()).update(values)

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


def read_first(records: str, reading: Reading, checks: Sequence[Check] | None = None, **where: Any) -> Sample:
    """The first ``ROWS`` records; none of a data set on the hub.

    Args:
        records: as the recipe names them.
        reading: how they are to be read.
        checks: what is expected of each; None: what is of every record.
        where: ``subset``, ``split`` and ``revision`` of a data set.

    Raises:
        RecordError: there is nothing to read under that name.
    """
    found, rows, reader = Sample(), Rows(records, **where), RecordReader(reading)
    if not rows.files and not Path(records).exists():
        return found
    checks = OF_EACH if checks is None else checks
    for row in islice(whole_trees(rows) if may_gather(reading) else rows, ROWS):
        found.read += 1
        try:
            parts = reader.read(row.parse(), cells=row.cells)
            for record in parts:
                _check(record, checks)
        except Defect as defect:
            found.refused.append(f"{row.file}:{row.line}: {defect}")
            found.reasons[defect.reason] += 1
            continue
        for record in parts:
            found.add(record)
    found.told = [*rows.passed_over, *rows.told()]
    return found


def first_of(records: str, validate: Any) -> Sample:
    """``read_first`` by the settings of ``validate``, held against what it expects of records."""
    return read_first(
        records,
        validate.reading,
        record_checks(
            max_prompt_chars=validate.max_prompt_chars,
            max_completion_chars=validate.max_completion_chars,
            min_completions=validate.fewest,
        ),
        **validate.part,
    )


def _check(record: Record, checks: Sequence[Check]) -> None:
    """Hold a record against what ``validate`` expects of it.

    Raises:
        Defect: it breaks one of the checks.
    """
    said = [record.prompt] if isinstance(record.prompt, str) else [each["content"] for each in record.prompt]
    texts, rewards = pa.array([record.texts], STRINGS), pa.array([record.rewards], NUMBERS)
    columns = count_records(pa.array(["\n".join(said)], pa.string()), texts, rewards)
    counts = {name: values[0].as_py() for name, values in columns.items()}
    for check in checks:
        count = counts.get(check.column)
        if count is None or not check.rejects:
            continue
        if count < (count if check.minimum is None else check.minimum) or (
            check.maximum is not None and count > check.maximum
        ):
            raise Defect(check.reason, check.detail.format_map(counts))
