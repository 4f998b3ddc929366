"""Rows of files of records, which know where they came from."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from copg.data.json_lines import Defect, parse_json
from copg.data.struct_nulls import StructNulls


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
    remark: str = ""
    """What is said of how it was read."""

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
            values: list[Any] = batch.to_pylist(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError, ImportError):
            for number in range(first, first + batch.num_rows):
                yield _row_of(name, number, batch.slice(number - first, 1))
        else:
            nulls = StructNulls(batch.schema)
            for number, value in enumerate(values, first):
                yield Row(name, number, value=value, remark=nulls.take_out(value))
        first += batch.num_rows


def _row_of(name: str, number: int, batch: pa.RecordBatch) -> Row:
    """The one row of a batch; a defect where Python has no value for what a column holds."""
    found = {}
    for column, kind in zip(batch.schema.names, batch.schema.types, strict=True):
        try:
            (found[column],) = batch.column(column).to_pylist(maps_as_pydicts="strict")
        except UnicodeDecodeError as error:
            defect = Defect("invalid_utf8", f"column {column!r}: a text is not UTF-8: {error.reason}")
            return Row(name, number, defect=defect)
        except KeyError:
            defect = Defect("duplicate_key", f"column {column!r}: a key of a map is given twice")
            return Row(name, number, defect=defect)
        except (ValueError, OverflowError, ImportError):  # of dates beyond the years 1 to 9999, and such
            defect = Defect("wrong_type", f"column {column!r}: no value of {kind} that Python can hold")
            return Row(name, number, defect=defect)
    return Row(name, number, value=found, remark=StructNulls(batch.schema).take_out(found))


def twice_named(kind: pa.Schema | pa.DataType, where: str = "") -> str:
    """The column, or the field within one, whose name stands twice in a table; empty where there is none.

    A row of it would be an object with a key given twice.
    """
    if isinstance(kind, pa.Schema) or pa.types.is_struct(kind):
        fields = [*kind]
        seen: set[str] = set()
        for field in fields:
            path = f"{where}.{field.name}".removeprefix(".")
            if field.name in seen:
                return path
            seen.add(field.name)
            if inner := twice_named(field.type, path):
                return inner
    elif pa.types.is_map(kind):
        return twice_named(kind.item_type, where)
    elif pa.types.is_nested(kind) and hasattr(kind, "value_type"):
        return twice_named(kind.value_type, where)
    return ""
