"""Whether a program passes its tests; it is taken to be hostile and runs in the jail of ``sandbox``."""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from sysconfig import get_path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

import copg
from copg.config import Natural, Positive, configuration
from copg.data.pool import ProcessPool
from copg.errors import RewardError
from copg.progress import track
from copg.records import Prompt
from copg.rewards.contract import Columns, Prompts, RecordFault, read_column
from copg.rewards.sandbox.verdict import NO_VERDICT
from copg.rewards.sandbox.zygote import GRACE_S, Settings

_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from copg.rewards.sandbox.zygote import main; main({settings!r})"
)


@configuration
class UnitTests:
    """Fraction of its tests that a Python program passes, or whether it passes all.

    Unit: fraction, from 0 to 1 (with ``count: all`` 0 or 1). Two shapes of tests: a list of statements, each
    one test (MBPP), or a block (HumanEval), of which each assert is a test. Both run as a script does, whose
    ``__name__`` is ``__main__``; then ``check`` is called with the function that the entry point names, and
    functions and classes for pytest and unittest as those do, but for fixtures and what is async. A program
    that comes to no assert fails; tests whose asserts no program can reach are refused. The program is the
    first fenced block of the completion, else all of it, after the prompt's own code where it goes on from
    that.

    Program and tests run in two processes, so that a program sees no test and no test trusts a program. It
    gets fresh user, mount, PID, network and IPC namespaces with read-only libraries and a small /tmp (or,
    where a pod forbids them, Landlock and nothing to write on), a list of allowed system calls, no
    environment, and limits on time, memory, files and threads. It can start no process.
    """

    column: str = "tests"
    """Holds the tests: a list of statements, or a block."""
    entry_point: str = "entry_point"
    """Column with the name of the function under test; needed when the tests define ``check``."""
    setup: str = "test_setup_code"
    """Column with code to run before the tests; a record may lack it."""
    count: Literal["fraction", "all"] = "fraction"
    """Fractions tell a nearly right program from a wrong one; ``all`` is what users mean by right."""
    timeout_s: Positive = 10.0
    """Seconds a program may take with all its tests."""
    memory_mib: Annotated[int, Field(ge=128)] = 512
    """Of address space, for program and tests each."""
    packages: bool = False
    """Whether programs may import the packages installed here, not only Python's own library."""
    num_workers: Natural = 0
    """Programs at once; 0: twice the cores, since building walls is waiting in part."""
    sandbox: Literal["auto", "namespaces", "landlock"] = "auto"
    """``auto`` takes namespaces where they are allowed, else Landlock; where neither is, nothing is run."""

    without_effect: ClassVar[tuple[str, ...]] = ("num_workers", "sandbox")

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.column, self.entry_point, self.setup)

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Those of them without which a record is judged all the same."""
        return (self.entry_point, self.setup)

    def content(self) -> dict[str, str]:
        """The language itself: another version passes other programs."""
        return {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}

    @cached_property
    def _pool(self) -> ProcessPool:
        packages = sorted({get_path("purelib"), get_path("platlib")}) if self.packages else []
        settings = Settings(self.sandbox, self.timeout_s, self.memory_mib << 20, packages)
        root = str(Path(copg.__file__).parent.parent)
        start = _START.format(root=root, settings=asdict(settings))
        return ProcessPool(
            "unit_tests",
            [sys.executable, "-S", "-s", "-P", "-c", start],
            num_workers=self.num_workers or 2 * len(os.sched_getaffinity(0)),
            timeout_s=self.timeout_s + GRACE_S + 30,
            start_s=60,
            error=RewardError,
            environment={"PYTHONHASHSEED": "0"},  # so that the order of a set is the same in every run
        )

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] fractions from 0 to 1."""
        jobs = [self._job(i, prompts[i], text, columns[i]) for i, text in enumerate(completions)]
        lines = [json.dumps(job).encode() for job in jobs]
        verdicts = list(track(self._pool.map(lines), "unit_tests", len(lines)))
        return [self._value(i, verdict) for i, verdict in enumerate(verdicts)]

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter()

    def warnings(self) -> list[str]:
        """That there was no verdict on some programs, in a line."""
        if not (number := self._counts["unjudged"]):
            return []
        return [
            f"tests of {number} completions ended without a verdict: they exited, or ran out of time "
            f"(timeout_s={self.timeout_s:g}) or memory (memory_mib={self.memory_mib}), and count as failed"
        ]

    def _job(self, index: int, prompt: Prompt, text: str, row: Mapping[str, Any]) -> dict[str, Any]:
        tests = read_column(row, self.column, index)
        listed = isinstance(tests, list) and tests and all(isinstance(test, str) for test in tests)
        if not listed and not (isinstance(tests, str) and tests.strip()):
            raise RecordFault(
                index, f"column '{self.column}' must hold a block or a list of tests, found {tests!r:.60}"
            )
        return {
            "prompt": prompt if isinstance(prompt, str) else prompt[-1]["content"],
            "completion": text,
            "tests": tests,
            "setup": self._optional(row, self.setup, index),
            "entry_point": self._optional(row, self.entry_point, index),
        }

    def _optional(self, row: Mapping[str, Any], name: str, index: int) -> str:
        value = row.get(name) if "." not in name else read_column(row, name, index)
        if value is not None and not isinstance(value, str):
            raise RecordFault(index, f"column '{name}' must hold text, found {value!r:.60}")
        return value or ""

    def _value(self, index: int, verdict: bytes | None) -> float:
        if verdict is None:
            lost = self._pool.last_loss
            raise RewardError(
                f"the sandbox gave no answer; is the machine out of memory or processes? A worker {lost}"
            )
        found = json.loads(verdict)
        if "fault" in found:
            raise RecordFault(index, f"column '{self.column}' cannot be run: {found['fault']}")
        self._counts["unjudged"] += found == NO_VERDICT
        passed, total = found["passed"], found["total"]
        return float(passed == total if self.count == "all" else passed / total)
