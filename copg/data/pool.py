"""A pool of processes for work that is slow, or that may hang, swell or crash: every job has a deadline.

A worker is any command that reads jobs from its standard input and answers each on its standard output. Bytes
cross as they are, so nothing is pickled or forked, and the caller needs no ``__main__`` guard.
"""

import os
import select
import struct
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO

from copg.errors import CopgError

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


class ProcessPool:
    """Processes that answer job by job; one that is late or dead is replaced.

    They end with their pipes: when this object goes, when its context ends, or the whole process does.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        num_workers: int,
        timeout_s: float,
        start_s: float,
        error: type[CopgError],
        sized: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started before the first job.

        Args:
            command: starts a worker; its first message is empty, or says why it is not ready.
            timeout_s: seconds a job may take.
            start_s: seconds a worker may take to become ready.
            error: raised where a worker cannot start.
            sized: each job and answer has its length before it, and may be anything; else it is a line.
            environment: variables of the workers; None gives them ours.
        """
        self.name = name
        self.command = list(command)
        self.num_lost = 0
        """Jobs that took too long or ended their worker."""
        self.last_loss = ""
        """What became of the last such worker, in words."""
        self._timeout_s, self._start_s = timeout_s, start_s
        self._error, self._sized, self._environment = error, sized, environment
        self._num_workers = num_workers
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._starter = ThreadPoolExecutor(1)  # a worker dies with the thread that started it
        self._living: set[_Worker] = set()
        weakref.finalize(self, _close_all, self._living)

    def map(self, jobs: Iterable[bytes], *, ahead: int | None = None) -> Iterator[bytes | None]:
        """The answer to each job, in order; None where there was none in time.

        Args:
            ahead: how many jobs may be taken before the answer to the first of them is; None for all.

        Raises:
            CopgError: of the class given, where a worker cannot start.
        """
        waiting: deque[Future[bytes | None]] = deque()
        busy: set[_Worker] = set()
        given_up = threading.Event()
        with ThreadPoolExecutor(self._num_workers) as threads:
            try:
                for job in jobs:
                    waiting.append(threads.submit(self._run, job, busy, given_up))
                    if ahead is not None and len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:  # also where the iteration is given up: nobody waits for what hangs
                for future in waiting:
                    future.cancel()
                with self._lock:
                    given_up.set()
                    for worker in busy:
                        worker.process.kill()
                raise

    def _run(self, job: bytes, busy: "set[_Worker]", given_up: threading.Event) -> bytes | None:
        worker = self._idle.get()
        answer = None
        try:
            if worker is None or worker.process.poll() is not None:
                worker = self._start(worker)
            with self._lock:
                busy.add(worker)
                if given_up.is_set():
                    worker.process.kill()
            answer = worker.ask(_SIZE.pack(len(job)) + job if self._sized else job + b"\n", self._timeout_s)
            with self._lock:
                busy.discard(worker)
            if answer is None:
                loss = self._drop(worker)
                with self._lock:
                    self.num_lost += 1
                    self.last_loss = loss
            return answer
        finally:
            self._idle.put(None if answer is None else worker)

    def _start(self, ended: "_Worker | None") -> "_Worker":
        if ended in self._living:
            self._drop(ended)
        worker = self._starter.submit(self._make).result()
        self._living.add(worker)
        problem = worker.ask(b"", self._start_s)
        if problem == b"":
            return worker
        loss = self._drop(worker)
        if problem is None:
            raise self._error(
                f"{self.name}: a helper process did not start within {self._start_s:g} s: it {loss}"
            )
        raise self._error(f"{self.name}: {problem.decode()}")

    def _make(self) -> "_Worker":
        return _Worker(self.command, self._environment, sized=self._sized)

    def _drop(self, worker: "_Worker") -> str:
        self._living.discard(worker)
        return worker.close()

    def close(self) -> None:
        """End all workers; a later job starts others."""
        _close_all(self._living)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
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


def _close_all(workers: set[_Worker]) -> None:
    while workers:
        worker = workers.pop()
        worker.process.kill()
        worker.close()
