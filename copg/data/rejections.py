"""What was refused: one line each in ``rejected.jsonl``, counted by reason."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from copg.data.checks import Check
from copg.data.columns import MAX_RECORD_CHARS

REJECTED = "rejected.jsonl"
MAX_EXAMPLES = 3
_SHOWN = ["source", "prompt", "messages", "texts", "rewards"]


class Rejections:
    """Writes rejections and counts them."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / REJECTED
        self.counts: Counter[str] = Counter()
        """Records by reason."""
        self.examples: list[str] = []
        """The first few, in a line each."""
        self._file = self.path.open("w", encoding="utf-8")

    def add(self, source: str, reason: str, detail: str, record: str) -> None:
        """Note a record.

        Args:
            source: ``file:line``.
            record: its text, or its beginning.
        """
        self.counts[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{source} {reason} ({detail})")
        file, _, line = source.rpartition(":")
        entry = {"file": file, "line": int(line), "reason": reason, "detail": detail, "record": record}
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def add_record(
        self, record: pa.RecordBatch, check: Check, derived: Mapping[str, np.ndarray], position: int
    ) -> None:
        """Note a row of ``RECORD_SCHEMA`` that broke a check.

        Args:
            derived: what the check looked at, with this row at ``position``.
        """
        (row,) = record.select(_SHOWN).to_pylist()
        shown = {
            "prompt": row["messages"] if row["prompt"] is None else row["prompt"],
            "completions": row["texts"],
            "rewards": row["rewards"],
        }
        numbers = {name: int(column[position]) for name, column in derived.items() if column.dtype != object}
        text = json.dumps(shown, ensure_ascii=False)[:MAX_RECORD_CHARS]
        self.add(row["source"], check.reason, check.detail.format_map(numbers), text)

    def metrics(self, num_read: int) -> dict[str, float]:
        """Counts of records, in all and by reason."""
        total = self.counts.total()
        by_reason = {f"rejected/{reason}": float(count) for reason, count in sorted(self.counts.items())}
        fraction = total / max(num_read, 1)
        return {"records/rejected": float(total), "records/rejected_fraction": fraction, **by_reason}

    def warnings(self, metrics: Mapping[str, float]) -> list[str]:
        """How many records are not used, why, and where they are kept; nothing where all are used."""
        if not self.counts:
            return []
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        read = int(metrics["records/read"])
        told = f"{self.counts.total()} of {read} records are rejected: {reasons}"
        return [f"{told}; the first: {self.examples[0]}; all of them in {REJECTED}"]

    def __enter__(self) -> "Rejections":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
