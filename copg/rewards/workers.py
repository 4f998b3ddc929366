"""Helper processes for work that may hang, swell or crash: each job has a deadline."""

import os
import select
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from copg.errors import RewardError
from copg.progress import track


class Workers:
    """Processes that answer one line with one line; one that is late or dead is replaced.

    They end with their pipes: when this object goes, or the whole process does.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        num_workers: int,
        timeout_s: float,
        start_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started before the first job.

        Args:
            name: for progress and errors.
            command: reads jobs on standard input; its first line is empty, or says why it is not ready.
            num_workers: how many at once.
            timeout_s: seconds a job may take.
            start_s: seconds a process may take to become ready.
            environment: variables of the processes; None gives them ours.
        """
        self.name = name
        self.command = list(command)
        self.environment = environment
        self.timeout_s = timeout_s
        self.start_s = start_s
        self.num_lost = 0
        """Jobs that took too long or ended their process."""
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)
        self._num_workers = num_workers
        self._lock = threading.Lock()
        self._living: set[_Worker] = set()
        weakref.finalize(self, _close_all, self._living)

    def map(self, jobs: Sequence[str]) -> list[str | None]:
        """The answer to each job, in order; None where there was none in time."""
        with ThreadPoolExecutor(self._num_workers) as pool:
            return list(track(pool.map(self._run, jobs), self.name, total=len(jobs)))

    def _run(self, job: str) -> str | None:
        worker = self._idle.get()
        try:
            if worker is None:
                worker = _Worker(self.command, self.environment)
                self._living.add(worker)
                self._check_start(worker.read(self.start_s))
            answer = worker.ask(job, self.timeout_s)
            if answer is None:
                self._drop(worker)
                worker = None
                with self._lock:
                    self.num_lost += 1
            return answer
        except BaseException:
            if worker is not None:
                self._drop(worker)
                worker = None
            raise
        finally:
            self._idle.put(worker)

    def _check_start(self, line: str | None) -> None:
        if line is None:
            raise RewardError(f"{self.name}: a helper process did not start within {self.start_s:g} s")
        if line:
            raise RewardError(f"{self.name}: {line}")

    def _drop(self, worker: "_Worker") -> None:
        worker.close()
        self._living.discard(worker)


class _Worker:
    def __init__(self, command: list[str], environment: Mapping[str, str] | None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
        )
        self._buffer = b""

    def ask(self, job: str, timeout_s: float) -> str | None:
        assert "\n" not in job
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(job.encode() + b"\n")
        except BrokenPipeError:
            return None
        return self.read(timeout_s)

    def read(self, timeout_s: float) -> str | None:
        """The next line, or None when the process ended or the time is over."""
        assert self._process.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                return None
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                return None
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _close_all(workers: set[_Worker]) -> None:
    for worker in list(workers):
        worker.close()
