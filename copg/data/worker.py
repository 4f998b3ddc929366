"""A process that is asked through its pipes, with a deadline for each answer; and what it reads and writes.

Bytes cross as they are, so nothing is pickled or forked.
"""

import os
import select
import struct
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

LAST_WORDS_BYTES = 2000
"""How much is kept of what a worker wrote to standard error."""
_SIZE = struct.Struct("<q")


def read_sized(pipe: IO[bytes]) -> bytes | None:
    """For a worker of ``sized`` messages: the next one; None where the input ended, perhaps amid one."""
    head = pipe.read(_SIZE.size)
    size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
    message = pipe.read(size)
    return message if head and len(message) == size else None


def write_sized(pipe: IO[bytes], message: bytes) -> None:
    """For a worker of ``sized`` messages: answer."""
    pipe.write(_SIZE.pack(len(message)) + message)
    pipe.flush()


class Worker:
    """A running process; its first message is empty, or says why it is not ready."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None, *, sized: bool) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment
        )
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self._pipes = [pipe for pipe in pipes if pipe is not None]
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._stdin, False)
        self._sized, self._read = sized, bytearray()
        self._words = b""
        self._late = False

    def answer(self, job: bytes, timeout_s: float) -> bytes | None:
        """What it makes of a job; None when it ended or the time is over."""
        return self.ask(_SIZE.pack(len(job)) + job if self._sized else job + b"\n", timeout_s)

    def ask(self, message: bytes, timeout_s: float) -> bytes | None:
        """The answer to a message; None when the process ended or the time is over."""
        end = time.monotonic() + timeout_s
        unsent = memoryview(message)
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        poller.register(self._stderr, select.POLLIN)
        if unsent:
            poller.register(self._stdin, select.POLLOUT)
        while (answer := self._message()) is None:
            left = end - time.monotonic()
            if left <= 0:
                self._late = True
                return None
            for descriptor, _ in poller.poll(1000 * left):
                if descriptor == self._stdin:
                    try:
                        unsent = unsent[os.write(descriptor, unsent) :]
                    except BrokenPipeError:
                        return None
                    if not unsent:
                        poller.unregister(descriptor)
                elif data := os.read(descriptor, 1 << 16):
                    self._take(descriptor, data)
                elif descriptor == self._stdout:
                    return None
                else:
                    poller.unregister(descriptor)
        return answer

    def _message(self) -> bytes | None:
        """The first message, taken off what was read so far; None while it is not whole."""
        if not self._sized:
            first, last = 0, self._read.find(b"\n")
            following = last + 1
        elif len(self._read) < _SIZE.size:
            return None
        else:
            first = _SIZE.size
            last = following = first + _SIZE.unpack_from(self._read)[0]
        if not 0 <= last <= len(self._read):
            return None
        message = bytes(self._read[first:last])
        del self._read[:following]
        return message

    def _take(self, descriptor: int, data: bytes) -> None:
        if descriptor == self._stdout:
            self._read += data
        else:
            self._words = (self._words + data)[-LAST_WORDS_BYTES:]

    def close(self) -> str:
        """End the process; what became of it, with the last line it wrote to standard error."""
        if not self._late:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)  # its output ended, so it ends
        self.process.kill()
        code = self.process.wait()
        os.set_blocking(self._stderr, False)
        with suppress(BlockingIOError):  # a process that it started may hold the pipe
            self._take(self._stderr, os.read(self._stderr, 1 << 16))
        for pipe in self._pipes:
            pipe.close()
        lines = self._words.decode(errors="replace").strip().splitlines()
        how = "gave no answer in time" if self._late else f"ended with exit code {code}"
        return f"{how}: {lines[-1].strip()}" if lines else how
