"""Rows as portions of columns, in order, made here or by workers."""

from collections.abc import Iterable, Iterator, Mapping

from copg.data.columns import Portion, to_portion
from copg.data.readers import Row, Rows
from copg.data.shapes import RecordReader
from copg.data.workers import Workers

ROWS_PER_CHUNK = 2**10
BYTES_PER_CHUNK = 2**22
"""A chunk ends where it reaches either; as Python objects a record takes several times its size."""


def portions(rows: Rows, columns: Mapping[str, str], *, num_workers: int) -> Iterator[Portion]:
    """Portions of all rows, in order; the same for any number of workers.

    Args:
        columns: the user's names of fields.
        num_workers: processes that parse JSON lines; 0 to do it here, as for rows of any other kind.
    """
    if num_workers and rows.are_lines:
        with Workers(columns, num_workers) as workers:
            yield from workers.map(rows.lines())
        return
    reader = RecordReader(columns)
    chunks = (lines.rows() for lines in rows.lines()) if rows.are_lines else _chunks(rows)
    for chunk in chunks:
        yield to_portion(chunk, reader)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Of files of several kinds, or of one that is no JSON lines."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.raw) if row.raw is not None else 0
        if len(chunk) == ROWS_PER_CHUNK or size >= BYTES_PER_CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
