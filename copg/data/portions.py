"""Rows as portions of columns, in order, made here or by processes beside this one.

Parsing is most of the stage's work. A worker reads blocks of lines and answers each with one portion.
"""

import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pyarrow as pa

from copg.data.columns import DEFECT_SCHEMA, PORTION_SCHEMA, Portion, to_portion
from copg.data.found import Reading
from copg.data.message_rows import may_gather, message_of, whole_trees
from copg.data.parents import die_with_parent
from copg.data.pool import ProcessPool
from copg.data.readers import Rows
from copg.data.rows import Lines, Row
from copg.data.shapes import RecordReader
from copg.data.worker import read_sized, write_sized
from copg.errors import RecordError

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import copg.data.portions as p; p.main()"


def portions(rows: Rows, reading: Reading, *, num_workers: int) -> Iterator[Portion]:
    """Portions of all rows, in order; the same for any number of workers.

    Args:
        num_workers: processes that parse JSON lines; 0 to do it here, as for rows of any other kind.
    """
    gathers = may_gather(reading) and (not rows.are_lines or _are_messages(rows))
    if num_workers and rows.are_lines and not gathers:
        with ProcessPool(
            "validate",
            [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(asdict(reading))],
            num_workers=num_workers,
            timeout_s=600,
            start_s=120,
            error=RecordError,
            sized=True,
        ) as pool:
            for answer in pool.map(map(_pack, rows.lines()), ahead=2 * num_workers):
                if answer is None:
                    raise RecordError(f"a process that parses records {pool.last_loss}; workers=0 needs none")
                yield _unpack_portion(answer)
        return
    reader = RecordReader(reading)
    lines = rows.are_lines and not gathers
    chunks = (each.rows() for each in rows.lines()) if lines else _chunks(rows, gathers=gathers)
    for chunk in chunks:
        yield to_portion(chunk, reader)


def _are_messages(rows: Rows) -> bool:
    """Whether the first row is a message of a tree, which rows after it may belong to."""
    first = next(iter(rows), None)
    return first is not None and message_of(first) is not None


def _chunks(rows: Rows, *, gathers: bool) -> Iterator[list[Row]]:
    """Of files of several kinds, or of one that is no JSON lines, or holds messages of trees."""
    chunk: list[Row] = []
    size = 0
    for row in whole_trees(rows) if gathers else rows:
        chunk.append(row)
        size += len(row.raw) if row.raw is not None else 0
        if len(chunk) == rows.bounds.rows_per_chunk or size >= rows.bounds.bytes_per_chunk:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _pack(lines: Lines) -> bytes:
    return json.dumps([lines.file, lines.first]).encode() + b"\n" + lines.data


def _unpack_portion(answer: bytes) -> Portion:
    stream = pa.BufferReader(answer)
    schemas = (PORTION_SCHEMA, DEFECT_SCHEMA)
    return Portion(*(pa.ipc.read_record_batch(pa.ipc.read_message(stream), schema) for schema in schemas))


def main() -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends it
    die_with_parent()
    reader = RecordReader(Reading(**json.loads(sys.argv[2])))
    write_sized(sys.stdout.buffer, b"")
    while (block := read_sized(sys.stdin.buffer)) is not None:
        head, _, data = block.partition(b"\n")
        file, first = json.loads(head)
        portion = to_portion(Lines(file, first, data).rows(), reader)
        batches = (portion.records, portion.defects)
        write_sized(sys.stdout.buffer, b"".join(bytes(batch.serialize()) for batch in batches))
