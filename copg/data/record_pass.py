"""First pass: every row on its own, from the files to the spool."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copg.data.checks import record_checks
from copg.data.columns import RECORD_SCHEMA, REMARKS, Portion
from copg.data.counts import COUNTS
from copg.data.found import Reading
from copg.data.json_lines import MAX_NAMES
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.data.rejections import Rejections
from copg.data.sides import Sides
from copg.data.spool import Spool
from copg.data.suite import Suite
from copg.progress import track

MAX_TOLD = 5
"""Of the columns that look like rewards."""
_SUMS = (
    "records",
    "prompt_chars",
    "completions",
    "all_completion_chars",
    "unranked_completions",
    "unsaid_ends",
)


class RecordPass:
    """Checks rows and counts what it sees.

    Args:
        max_prompt_chars: None for no limit, as for completions.
        fit: makes a portion what a model can read and say; None where none is known.
        min_completions: of a prompt; at 0 a record may have none.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        max_prompt_chars: int | None,
        max_completion_chars: int | None,
        fit: Callable[[Portion], Portion] | None = None,
        min_completions: int = 2,
    ) -> None:
        limits = {"max_prompt_chars": max_prompt_chars, "max_completion_chars": max_completion_chars}
        self.suite = Suite(
            "records", record_checks(**limits, fitted=fit is not None, min_completions=min_completions)
        )
        self._fit = fit
        self.num_read = 0
        self.remarks: dict[str, Counter[str]] = {name: Counter() for name in REMARKS}
        """How many records each was made of."""
        self.sides = Sides()
        self._reading = reading
        self._sums = dict.fromkeys(_SUMS, 0)
        self._longest = {"prompt_chars": 0, "completion_chars": 0}

    def run(self, rows: Rows, rejections: Rejections, spool: Spool, *, num_workers: int) -> None:
        """Good records go to the spool, all others to the rejections."""
        bounds = rows.bounds
        if rows.total_bytes < bounds.bytes_worth_workers:
            num_workers = 0
        frame = _Frame(spool.num_rows)
        for portion in _tracked(rows, portions(rows, self._reading, num_workers=num_workers)):
            portion = portion if self._fit is None else self._fit(portion)
            frame.add(portion)
            if portion.records.num_rows:
                self._note(portion.records)
                spool.append(portion.records.select(RECORD_SCHEMA.names))
            if frame.num_rows >= bounds.rows_per_frame or len(frame.defects) >= bounds.defects_per_frame:
                self._check(frame, rejections, spool)
                frame = _Frame(spool.num_rows)
        if frame.num_rows:
            self._check(frame, rejections, spool)

    def _note(self, records: pa.RecordBatch) -> None:
        self.sides.add(records)
        for name, counter in self.remarks.items():
            for each in pc.value_counts(records[name]).to_pylist():
                counter[each["values"]] += each["counts"]

    def told(self) -> list[str]:
        """A line for each shape that was read, for each that leaves out what looks like a reward, for keys of
        messages, and for completions of which nobody said whether they were cut off.
        """
        shapes = self.remarks["read_as"].most_common()
        lines = [*(f"read as: {words}, {_records(count)}" for words, count in shapes), *self.unused()]
        lines += told_keys(self.remarks["dropped"])
        unsaid, count = self._sums["unsaid_ends"], self._sums["completions"]
        if unsaid:
            lines.append(f"{unsaid} of {count} completions have no 'finished': they count as not cut off")
        return lines

    def unused(self) -> list[str]:
        """A line for each shape that leaves out what looks like a reward."""
        unused = [each for each in self.remarks["unused"].most_common() if each[0]]
        more = len(unused) - MAX_TOLD
        lines = [f"{words} ({_records(count)})" for words, count in unused[:MAX_TOLD]]
        return [*lines, *([f"and {more} more kinds of records leave columns out"] if more > 0 else [])]

    def warnings(self) -> list[str]:
        """What of the records is not used, in a line each."""
        left = self._sums["unranked_completions"]
        unranked = f"{left} completions are left out: they have no rank, and others of their prompt do"
        return [*self.unused(), *told_keys(self.remarks["dropped"]), *([unranked] if left else [])]

    def _check(self, frame: "_Frame", rejections: Rejections, spool: Spool) -> None:
        derived, positions = frame.derived()
        rejected = self.suite.run(derived)
        assert rejected.keys() >= frame.defects.keys()
        for position in sorted(rejected):
            if position in frame.defects:
                rejections.add(**frame.defects[position])
            else:
                record = spool.drop(frame.first_row + int(np.searchsorted(positions, position)))
                rejections.add_record(record, rejected[position], derived, position)
        self.num_read += frame.num_rows
        self._measure(derived, positions[~np.isin(positions, list(rejected))])

    def _measure(self, derived: Mapping[str, np.ndarray], kept: np.ndarray) -> None:
        self._sums["records"] += len(kept)
        for name in _SUMS[1:]:
            self._sums[name] += int(derived[name][kept].sum())
        for name, longest in self._longest.items():
            self._longest[name] = max(longest, int(derived[name][kept].max(initial=0)))

    def metrics(self) -> dict[str, float]:
        """Counts; lengths in characters, over the records that were kept."""
        sums = self._sums
        return {
            "records/read": float(self.num_read),
            "records/control_characters": float(self.suite.tallies["control_characters"].unexpected),
            "prompt_chars/mean": sums["prompt_chars"] / max(sums["records"], 1),
            "prompt_chars/max": float(self._longest["prompt_chars"]),
            "completion_chars/mean": sums["all_completion_chars"] / max(sums["completions"], 1),
            "completion_chars/max": float(self._longest["completion_chars"]),
            "completions/unranked": float(sums["unranked_completions"]),
            "completions/unsaid_ends": float(sums["unsaid_ends"]),
        }


class _Frame:
    """What the checks look at, of consecutive rows; the records themselves are in the spool already.

    Args:
        first_row: the spool's number of the first record.
    """

    def __init__(self, first_row: int) -> None:
        self.first_row = first_row
        self.num_rows = 0
        self.defects: dict[int, dict[str, str]] = {}
        """What to note of each row, by its position, that is no record."""
        self._counts: dict[str, list[np.ndarray]] = {name: [] for name in COUNTS}

    def add(self, portion: Portion) -> None:
        for defect in portion.defects.to_pylist():
            self.defects[self.num_rows + defect.pop("position")] = defect
        for name, arrays in self._counts.items():
            arrays.append(portion.records[name].to_numpy().copy())
        self.num_rows += portion.num_rows

    def derived(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """``defect`` (``none`` where there is none) and ``COUNTS`` of all rows; the records' positions.

        Counts of what is no record are NaN: no later check looks at it.
        """
        names = np.full(self.num_rows, "none", object)
        for position, defect in self.defects.items():
            names[position] = defect["reason"]
        positions = np.delete(np.arange(self.num_rows), list(self.defects))
        columns = {"defect": names}
        for name, arrays in self._counts.items():
            columns[name] = np.full(self.num_rows, np.nan)
            columns[name][positions] = np.concatenate(arrays)
        return columns, positions


def told_keys(dropped: Mapping[str, int]) -> list[str]:
    """A line for the keys of messages that nothing reads, with how many records have each; none without any.

    Args:
        dropped: how many records have such keys, which stand in a line each.
    """
    counts: Counter[str] = Counter()
    for names, count in dropped.items():
        counts.update(dict.fromkeys(filter(None, names.split("\n")), count))
    shown = ", ".join(f"{name!r} ({_records(count)})" for name, count in counts.most_common(MAX_NAMES))
    more = f" and {len(counts) - MAX_NAMES:,} more" if len(counts) > MAX_NAMES else ""
    return (
        [f"keys of messages are left out, which no chat template is given: {shown}{more}"] if counts else []
    )


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"


def _tracked(rows: Rows, items: Iterable[Portion]) -> Iterator[Portion]:
    """Progress by the bytes read where files tell how many there are, else by records."""
    if not rows.total_bytes:
        return track(items, "validate (records)", count=lambda portion: portion.num_rows)
    seen = 0

    def fresh_kib(_: Portion) -> int:
        nonlocal seen
        before, seen = seen, rows.done_bytes // 1024
        return seen - before

    return track(items, "validate (KiB)", rows.total_bytes // 1024, count=fresh_kib)
