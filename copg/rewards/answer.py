"""Whether the final answer of a mathematical problem is right."""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from copg.config import Natural, Positive, configuration
from copg.data.pool import ProcessPool
from copg.errors import RewardError
from copg.progress import track
from copg.rewards import answer_worker
from copg.rewards.contract import Columns, OfColumn, Prompts, RecordFault, missing_package, read_column


@configuration
class Answer(OfColumn):
    r"""1 when the last answer of the completion equals the gold one, else 0, by ``math-verify``.

    Unit: 0 or 1. Numbers, fractions, percentages and units in plain text; those and intervals, sets,
    matrices and algebra in LaTeX (``$..$``, ``\boxed{..}``). The last ``\boxed{}`` counts, else the last
    expression. A gold answer of one letter from A to J is a choice, one like ``3:45 PM`` a time of day: the
    last that the completion names is compared. One too costly to compare (``9^{9^{9^9}}``) is wrong.
    """

    column: str = "answer"
    """Holds the gold answer: text or a number."""
    timeout_s: Positive = 10.0
    """Seconds a comparison may take before it is given up as wrong."""
    num_workers: Natural = 0
    """Processes that compare; 0: as many as there are cores."""

    without_effect: ClassVar[tuple[str, ...]] = ("num_workers",)

    @cached_property
    def _pool(self) -> ProcessPool:
        if importlib.util.find_spec("math_verify") is None:
            raise missing_package("math-verify")
        num_workers = self.num_workers or len(os.sched_getaffinity(0))
        return ProcessPool(
            "answer",
            [sys.executable, "-m", answer_worker.__name__],
            num_workers=num_workers,
            timeout_s=self.timeout_s,
            start_s=120,
            error=RewardError,
        )

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] 0 or 1."""
        gold = [self._gold(i, row) for i, row in enumerate(columns)]
        jobs = [json.dumps(pair).encode() for pair in zip(gold, completions, strict=True)]
        answers = list(track(self._pool.map(jobs), "answer", len(jobs)))
        for i, answer in enumerate(answers):
            if answer == b"?":
                raise RecordFault(i, f"column '{self.column}' holds no mathematical answer: {gold[i]!r:.60}")
        return [float(answer == b"1") for answer in answers]

    def warnings(self) -> list[str]:
        """That comparisons were given up, in a line."""
        num_lost = self._pool.num_lost if "_pool" in vars(self) else 0
        if not num_lost:
            return []
        return [
            f"{num_lost} comparisons took longer than timeout_s={self.timeout_s:g} or ended their process, "
            "and count as wrong"
        ]

    def _gold(self, index: int, row: Mapping[str, Any]) -> str:
        value = read_column(row, self.column, index)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise RecordFault(
                index, f"column '{self.column}' must hold a text or a number, found {value!r:.60}"
            )
        return str(value)
