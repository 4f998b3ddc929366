"""A pool of processes for work that is slow, or that may hang, swell or crash: every job has a deadline.

A worker is any command that reads jobs from its standard input and answers each on its standard output. Bytes
cross as they are, so nothing is pickled or forked, and the caller needs no ``__main__`` guard.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from copg.data.worker import Worker
from copg.errors import CopgError


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
        self._idle: SimpleQueue[Worker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._starter = ThreadPoolExecutor(1)  # a worker dies with the thread that started it
        self._living: set[Worker] = set()
        weakref.finalize(self, _close_all, self._living)

    def map(self, jobs: Iterable[bytes], *, ahead: int | None = None) -> Iterator[bytes | None]:
        """The answer to each job, in order; None where there was none in time.

        Args:
            ahead: how many jobs may be taken before the answer to the first of them is; None for all.

        Raises:
            CopgError: of the class given, where a worker cannot start.
        """
        waiting: deque[Future[bytes | None]] = deque()
        busy: set[Worker] = set()
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

    def _run(self, job: bytes, busy: set[Worker], given_up: threading.Event) -> bytes | None:
        worker = self._idle.get()
        answer = None
        try:
            if worker is None or worker.process.poll() is not None:
                worker = self._start(worker)
            with self._lock:
                busy.add(worker)
                if given_up.is_set():
                    worker.process.kill()
            answer = worker.answer(job, self._timeout_s)
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

    def _start(self, ended: Worker | None) -> Worker:
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

    def _make(self) -> Worker:
        return Worker(self.command, self._environment, sized=self._sized)

    def _drop(self, worker: Worker) -> str:
        self._living.discard(worker)
        return worker.close()

    def close(self) -> None:
        """End all workers; a later job starts others."""
        _close_all(self._living)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close_all(workers: set[Worker]) -> None:
    while workers:
        worker = workers.pop()
        worker.process.kill()
        worker.close()
