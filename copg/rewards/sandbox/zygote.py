"""The process from which jailed ones are forked: started once, with no environment, it holds no secret.

A line on standard input is a job, in JSON; it is read by the examiner alone, so that no process a program is
forked from ever held a test. A line on standard output is the verdict. The first line says that the walls
stand (empty), or what is missing.
"""

import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from copg.rewards.sandbox import candidate, jail, kernel
from copg.rewards.sandbox.examiner import examine
from copg.rewards.sandbox.link import Link
from copg.rewards.sandbox.seccomp import build_filter
from copg.rewards.sandbox.verdict import believed

GRACE_S = 1.0
"""For the examiner to give its verdict once a program that took too long is gone."""
MAX_VERDICT_BYTES = 65536
READY = "ready"
PRELOADED = (
    "array bisect calendar cmath collections copy datetime decimal enum fractions functools hashlib heapq "
    "itertools json math numbers operator random re statistics string sys textwrap time typing unicodedata"
)
"""Loaded before programs are forked, so that their imports cost nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every program gets."""

    sandbox: str
    """``namespaces``, ``landlock``, or ``auto`` for the first that works."""
    timeout_s: float
    memory_bytes: int
    packages: list[str]
    """Folders of packages that programs may import, beside Python's own library."""

    @property
    def limits(self) -> jail.Limits:
        """Of one process."""
        return jail.Limits(cpu_s=int(self.timeout_s) + 1, memory_bytes=self.memory_bytes)


class Jailer:
    """Forks processes behind one kind of walls."""

    def __init__(self, kind: str, settings: Settings) -> None:
        self._kind = kind
        self._limits = settings.limits
        self._readable = jail.readable_paths(settings.packages)

    def start(self, body: Callable[[], object], keep: tuple[int, ...]) -> tuple[int, int]:
        """Run ``body`` jailed, with the descriptors it keeps; the process to kill and the one to wait for.

        Raises:
            OSError: the walls cannot be built; the message says which.
        """
        reading, writing = os.pipe()
        parent = os.getpid()
        outer = os.fork()
        if outer == 0:
            try:
                self._in_child(body, keep, writing, parent)
            except BaseException as error:
                os.write(writing, f"{error}\n".encode()[:500])
            finally:
                os._exit(1)
        os.close(writing)
        lines = b"".join(iter(lambda: os.read(reading, 1024), b"")).decode(errors="replace").splitlines()
        os.close(reading)
        numbers = [int(line) for line in lines if line.isdigit()]
        if READY in lines and numbers:
            return numbers[0], outer
        _end(numbers[0] if numbers else outer, outer)
        problems = [line for line in lines if line != READY and not line.isdigit()]
        raise OSError("; ".join(problems) or "the jailed process died before it was ready")

    def _in_child(self, body: Callable[[], object], keep: tuple[int, ...], writing: int, parent: int) -> None:
        kernel.die_with_parent()
        if os.getppid() != parent:
            return
        readable: list[str] | None = self._readable
        if self._kind == "namespaces":
            jail.enter_namespaces(self._readable, self._limits)
            kernel.die_with_parent()  # again: the user changed
            inner = os.fork()
            if inner:
                _guard(inner, writing)
            kernel.die_with_parent()
            readable = None
        else:
            os.write(writing, f"{os.getpid()}\n".encode())
        jail.lock(self._limits, (*keep, writing), readable=readable)
        os.write(writing, f"{READY}\n".encode())
        os.close(writing)
        body()
        os._exit(0)


def _guard(inner: int, writing: int) -> None:
    """Between zygote and PID namespace: tells its child's number, stays as long, dies with the zygote."""
    os.write(writing, f"{inner}\n".encode())
    os.closerange(0, 1 << 20)
    os.waitpid(inner, 0)
    os._exit(0)


def find_jailers(settings: Settings) -> tuple[Jailer, Jailer]:
    """The walls for programs and those for their tests, once a process has stood behind them.

    Tests stand behind Landlock where there is some, whatever programs do: it is built in half the time, and
    they come with the records.

    Raises:
        OSError: none can be built; says why each failed.
    """
    kinds = ("namespaces", "landlock") if settings.sandbox == "auto" else (settings.sandbox,)
    reasons: list[str] = []
    for kind in kinds:
        try:
            for_programs = _tried(kind, settings)
        except OSError as error:
            reasons.append(f"{kind}: {error}")
            continue
        with suppress(OSError):
            return for_programs, _tried("landlock", settings)
        return for_programs, for_programs
    raise OSError(
        f"no sandbox can be built here ({'; '.join(reasons)}); allow user namespaces or Landlock and seccomp "
        "in the pod's seccomp profile"
    )


def _tried(kind: str, settings: Settings) -> Jailer:
    if kind == "landlock" and not kernel.landlock_abi():
        raise OSError("the kernel has none")
    jailer = Jailer(kind, settings)
    _end(*jailer.start(lambda: None, ()))
    return jailer


def run_job(for_programs: Jailer, for_tests: Jailer, timeout_s: float) -> bytes:
    """The verdict on the job that waits on standard input.

    Raises:
        OSError: the walls cannot be built, or the job was not read.
    """
    to_program, from_tests = os.pipe()
    to_tests, from_program = os.pipe()
    reading, verdict = os.pipe()
    started: list[tuple[int, int]] = []
    try:
        program_ends, test_ends = (to_program, from_program), (to_tests, from_tests)
        started.append(for_programs.start(lambda: candidate.main(*program_ends), program_ends))
        started.append(for_tests.start(lambda: _examine(*test_ends, verdict), (0, *test_ends, verdict)))
        for descriptor in (to_program, from_tests, to_tests, from_program, verdict):
            os.close(descriptor)
        deadline = time.monotonic() + timeout_s
        said = _read_until(reading, deadline, b"")
        late = not said.endswith(b"\n")
        if late:
            with suppress(ProcessLookupError):  # it ends by itself where the tests closed its pipe
                os.kill(started[0][0], signal.SIGKILL)
            said = _read_until(reading, deadline + GRACE_S, said)
    finally:
        os.close(reading)
        for process, outer in started:
            _end(process, outer)
    if not said.startswith(b"R"):
        raise OSError("the process that holds the tests died before it read them")
    return believed(said[1:])


def _examine(reading: int, writing: int, verdict: int) -> None:
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(0, 1 << 20)
        if not part:
            return
        data += part
    # the tests must not reach the pipe on which the next job comes: its flags are those of all who hold it
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.write(verdict, b"R")
    found = examine(json.loads(data), Link(reading, writing))
    os.write(verdict, json.dumps(found).encode() + b"\n")


def _read_until(reading: int, deadline: float, said: bytes) -> bytes:
    while not said.endswith(b"\n") and len(said) < MAX_VERDICT_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            break
        part = os.read(reading, 65536)
        if not part:
            break
        said += part
    return said


def _end(process: int, outer: int) -> None:
    """Kill a jailed process, and with it all it started; gone when this returns."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    os.waitpid(outer, 0)


def main(settings: dict[str, Any]) -> None:
    """Serve jobs until standard input ends, or whoever asked for them."""
    kernel.die_with_parent()
    for name in PRELOADED.split():
        __import__(name)
    chosen = Settings(**settings)
    sys.path += chosen.packages
    try:
        jailers = find_jailers(chosen)
    except OSError as error:
        os.write(1, " ".join(str(error).split()).encode() + b"\n")
        sys.exit(1)
    os.write(1, b"\n")
    build_filter(1, writes=True)  # remembered for the first process of every PID namespace
    gc.collect()
    gc.freeze()
    while select.select([0], [], [])[0]:
        if not _job_waits():
            return
        os.write(1, run_job(*jailers, chosen.timeout_s) + b"\n")


def _job_waits() -> bool:
    """Whether standard input holds a byte, without reading it."""
    poller = select.poll()
    poller.register(0, select.POLLIN)
    return any(event & select.POLLIN for _, event in poller.poll())
