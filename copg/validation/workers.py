"""Processes that turn JSON lines into columns beside the main one: parsing is most of the stage's work.

A worker reads lines as Arrow batches from its standard input and answers each with one portion, until its
input ends. It is a fresh interpreter, so nothing is forked and the caller needs no ``__main__`` guard.
"""

import gc
import json
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO

import pyarrow as pa

from copg.errors import RecordError
from copg.readers import Row
from copg.shapes import RecordReader
from copg.validation.columns import DEFECT_SCHEMA, PORTION_SCHEMA, Portion, to_portion

LINE_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("raw", pa.binary())])
_LENGTH = struct.Struct("<q")
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import copg.validation.workers as w; w.main()"
)


class Workers:
    """A number of processes that answer in the order in which they were asked.

    Args:
        columns: the user's names of fields.
        num_workers: how many.
    """

    def __init__(self, columns: Mapping[str, str], num_workers: int) -> None:
        command = [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(dict(columns))]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(num_workers)
        ]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(num_workers)

    def map(self, chunks: Iterable[Sequence[Row]]) -> Iterator[Portion]:
        """The portion of each chunk of JSON lines, in order, with one chunk a worker waiting."""
        waiting: deque[Future[Portion]] = deque()
        for rows in chunks:
            waiting.append(self._threads.submit(self._ask, rows))
            if len(waiting) > 2 * len(self._processes):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, rows: Sequence[Row]) -> Portion:
        columns = [[row.file for row in rows], [row.line for row in rows], [row.raw for row in rows]]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, LINE_SCHEMA, strict=True)]
        process = self._idle.get()
        try:
            records, defects = _exchange(process, pa.RecordBatch.from_arrays(arrays, schema=LINE_SCHEMA))
        finally:
            self._idle.put(process)
        return Portion(len(rows), records, defects)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            with suppress(BrokenPipeError), process:
                pass


def _exchange(
    process: "subprocess.Popen[bytes]", lines: pa.RecordBatch
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    assert process.stdin is not None
    assert process.stdout is not None
    records = defects = None
    with suppress(BrokenPipeError):
        _send(process.stdin, lines)
        process.stdin.flush()
        records = _receive(process.stdout, PORTION_SCHEMA)
        defects = _receive(process.stdout, DEFECT_SCHEMA)
    if records is None or defects is None:
        code = process.wait()
        raise RecordError(f"a process that parses records ended with exit code {code}; workers=0 needs none")
    return records, defects


def _send(pipe: IO[bytes], batch: pa.RecordBatch) -> None:
    data = batch.serialize()
    pipe.write(_LENGTH.pack(data.size))
    pipe.write(memoryview(data))


def _receive(pipe: IO[bytes], schema: pa.Schema) -> pa.RecordBatch | None:
    """The next batch; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    data = pipe.read(size)
    return pa.ipc.read_record_batch(pa.py_buffer(data), schema) if len(data) == size else None


def main() -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process closes the pipe, which is our end
    gc.freeze()  # what the imports left need not be searched again for every batch
    reader = RecordReader(json.loads(sys.argv[2]))
    pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer
    while (lines := _receive(pipe_in, LINE_SCHEMA)) is not None:
        rows = [Row(*cells) for cells in zip(*(column.to_pylist() for column in lines.columns), strict=True)]
        portion = to_portion(rows, reader)
        _send(pipe_out, portion.records)
        _send(pipe_out, portion.defects)
        pipe_out.flush()
