"""Rows of files of records, which know where they came from."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from copg.data.json_lines import Defect, parse_json


@dataclass(slots=True)
class Row:
    """One row of a file."""

    file: str
    """Relative to the folder that was named, with forward slashes: the same on every machine."""
    line: int
    """Counted from 1; of a record that spans lines, the first; of Parquet and data sets, the row."""
    raw: bytes | None = None
    """Of JSON lines: the line as it stands, not yet parsed."""
    value: Any = None
    """Of other formats."""
    defect: Defect | None = None
    """Why there is no value."""
    cells: bool = False
    """True when every value is text, as in CSV."""

    def parse(self) -> Any:
        """The value.

        Raises:
            Defect: there is none.
        """
        if self.defect is not None:
            raise self.defect
        return self.value if self.raw is None else parse_json(self.raw)


@dataclass(slots=True)
class Lines:
    """Whole lines of a file of JSON lines, one after the other, not yet looked at."""

    file: str
    """As in ``Row``."""
    first: int
    """Number of the first line."""
    data: bytes

    def rows(self) -> Iterator[Row]:
        """A row for each line that is not blank."""
        for number, line in enumerate(io.BytesIO(self.data), self.first):
            if not line.isspace():
                yield Row(self.file, number, raw=line)


def rows_of(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    """The rows of Arrow batches, which are all of ``name``."""
    first = 1
    for batch in batches:
        try:
            for number, value in enumerate(batch.to_pylist(), first):
                yield Row(name, number, value=value)
        except UnicodeDecodeError:
            for number in range(first, first + batch.num_rows):
                try:
                    yield Row(name, number, value=batch.slice(number - first, 1).to_pylist()[0])
                except UnicodeDecodeError as error:
                    defect = Defect("invalid_utf8", f"a text is not UTF-8: {error.reason}")
                    yield Row(name, number, defect=defect)
        first += batch.num_rows
