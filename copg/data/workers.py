"""Processes that turn JSON lines into columns beside the main one: parsing is most of the stage's work.

A worker reads blocks of lines from its standard input and answers each with one portion, until its input
ends. It is a fresh interpreter, so nothing is forked and the caller needs no ``__main__`` guard.
"""

import gc
import json
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO

import pyarrow as pa

from copg.data.columns import DEFECT_SCHEMA, PORTION_SCHEMA, Portion, to_portion
from copg.data.readers import Lines
from copg.data.shapes import RecordReader
from copg.errors import RecordError

_LENGTH = struct.Struct("<q")
_HEAD = struct.Struct("<qqq")
"""Of a block: number of its first line, bytes of the file's name, bytes of the lines."""
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import copg.data.workers as w; w.main()"


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

    def map(self, blocks: Iterable[Lines]) -> Iterator[Portion]:
        """The portion of each block of lines, in order, with one block a worker waiting."""
        waiting: deque[Future[Portion]] = deque()
        for lines in blocks:
            waiting.append(self._threads.submit(self._ask, lines))
            if len(waiting) > 2 * len(self._processes):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, lines: Lines) -> Portion:
        process = self._idle.get()
        try:
            return _exchange(process, lines)
        finally:
            self._idle.put(process)

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


def _exchange(process: "subprocess.Popen[bytes]", lines: Lines) -> Portion:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        name = lines.file.encode()
        process.stdin.write(_HEAD.pack(lines.first, len(name), len(lines.data)) + name)
        process.stdin.write(lines.data)
        process.stdin.flush()
        if (portion := _receive(process.stdout)) is not None:
            return portion
    code = process.wait()
    raise RecordError(f"a process that parses records ended with exit code {code}; workers=0 needs none")


def _send(pipe: IO[bytes], portion: Portion) -> None:
    for batch in (portion.records, portion.defects):
        data = batch.serialize()
        pipe.write(_LENGTH.pack(data.size))
        pipe.write(memoryview(data))
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Portion | None:
    """The portion that was sent; None where the sender ended before."""
    batches = []
    for schema in (PORTION_SCHEMA, DEFECT_SCHEMA):
        head = pipe.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack(head)
        data = pipe.read(size)
        if len(data) < size:
            return None
        batches.append(pa.ipc.read_record_batch(pa.py_buffer(data), schema))
    return Portion(*batches)


def main() -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process closes the pipe, which is our end
    gc.freeze()  # what the imports left need not be searched again for every batch
    reader = RecordReader(json.loads(sys.argv[2]))
    while (lines := _next_block(sys.stdin.buffer)) is not None:
        _send(sys.stdout.buffer, to_portion(lines.rows(), reader))


def _next_block(pipe: IO[bytes]) -> Lines | None:
    """What the main process wrote; None when it ended, perhaps amid a block."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    first, *lengths = _HEAD.unpack(head)
    name, data = (pipe.read(length) for length in lengths)
    return Lines(name.decode(), first, data) if [len(name), len(data)] == lengths else None
