"""What the rewards of many groups look like: distribution, spread within a prompt, ties, agreement."""

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from copg.errors import RewardError
from copg.records import Completion
from copg.rewards.contract import Scale

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
NEARLY_ALL = 0.98
"""Share of completions from which a reward of one value is said to tell nothing."""


class Distribution:
    """Grows group by group; holds a number a completion and reward, one a group, and no more that grows."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = list(parts)
        self.names = ["reward", *(f"reward_{part}" for part in parts)]
        self.num_groups = 0
        self.num_single = 0
        """Groups of one completion: nothing to compare within the prompt."""
        self.num_tied = 0
        """Groups of several completions whose rewards are all equal."""
        self.num_completions = array("q")
        """Of each group."""
        self.spreads = array("d")
        """[G] standard deviation of the rewards within each group; NaN for a single completion."""
        self._values = {name: array("d") for name in self.names}
        self._std_sums = np.zeros(len(self.names))
        self._products = np.zeros((len(self.names) + 1, len(self.names) + 1))

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, completions: Sequence[Completion]) -> None:
        """One group, scored; the length that rewards are compared with is in characters."""
        total = [c.reward for c in completions if c.reward is not None]
        rows = [total, *([c.parts[part] for c in completions] for part in self._parts)]
        for name, values in zip(self.names, rows, strict=True):
            self._values[name].extend(values)
        self.num_groups += 1
        self.num_completions.append(len(total))
        if len(total) < 2:
            self.num_single += 1
            self.spreads.append(math.nan)
            return
        self.num_tied += min(total) == max(total)
        x = np.array([*rows, [len(c.text) for c in completions]], dtype=np.float64)
        # exactly 0 for equal values, whose mean may differ from them by rounding
        centred = np.where(np.ptp(x, axis=1, keepdims=True) == 0, 0.0, x - x.mean(axis=1, keepdims=True))
        variance = np.square(centred[:-1]).sum(axis=1) / (len(total) - 1)
        self.spreads.append(math.sqrt(variance[0]))
        self._std_sums += np.sqrt(variance)
        self._products += centred @ centred.T

    @property
    def num_compared(self) -> int:
        """Groups of at least two completions."""
        return self.num_groups - self.num_single

    @np.errstate(over="ignore", invalid="ignore")
    def metrics(self) -> dict[str, float]:
        """Statistics of the rewards and of each part; undefined or overflowing ones are left out.

        ``spread`` is the standard deviation within a prompt, averaged over prompts of at least two
        completions. ``length_correlation`` is that with the length once each prompt's means are taken off,
        ``groups/tied`` the share of those prompts whose rewards are all equal, ``groups/single`` the share of
        prompts with one completion.
        """
        found = {"groups/single": self.num_single / self.num_groups} if self.num_groups else {}
        if self.num_compared:
            found["groups/tied"] = self.num_tied / self.num_compared
        for i, name in enumerate(self.names):
            values = self.values(name)
            if values.size:
                found[f"{name}/mean"] = float(values.mean())
                found[f"{name}/std"] = float(values.std())
            if self.num_compared:
                found[f"{name}/spread"] = float(self._std_sums[i]) / self.num_compared
            correlation = self._correlation(i, -1)
            if correlation is not None:
                found[f"{name}/length_correlation"] = correlation
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Of the rewards and of each part, from 0 (minimum) to 1 (maximum); each is a value that occurs."""
        return {
            name: dict(
                zip(
                    (f"{q:g}" for q in QUANTILES),
                    np.quantile(values, QUANTILES, method="inverted_cdf").tolist(),
                    strict=True,
                )
            )
            for name, values in self._values.items()
            if values
        }

    def agreement(self) -> dict[str, float]:
        """Correlation of each two parts, ``a~b``, once each prompt's means are taken off."""
        parts = range(1, len(self.names))
        found = {
            f"{self._parts[i - 1]}~{self._parts[j - 1]}": self._correlation(i, j)
            for i, j in combinations(parts, 2)
        }
        return {pair: value for pair, value in found.items() if value is not None}

    def by_prompt(self) -> Iterator["np.ndarray[Any, np.dtype[np.float64]]"]:
        """[K] rewards of each prompt."""
        if not self.num_completions:
            return iter([])
        ends = np.cumsum(np.frombuffer(self.num_completions, np.int64))
        return iter(np.split(self.values("reward"), ends[:-1]))

    @property
    def spread(self) -> float:
        """Standard deviation of rewards within a prompt, mean over prompts, in reward units."""
        return float(self._std_sums[0]) / max(1, self.num_compared)

    def warnings(self) -> list[str]:
        """What makes these rewards of little use to a training, in a line each."""
        found = [self._sameness(name) for name in self.names[1:] or self.names]
        if self.num_tied and self.num_tied < self.num_compared:
            found.append(
                f"{self.num_tied} of {self.num_compared} training prompts are tied: their rewards are all "
                "equal, so that only the pull to the reference is left of them"
            )
        elif self.num_tied:
            found.append(
                "rewards do not differ within any training prompt: training would only pull to the reference"
            )
        if self.num_single:
            found.append(f"{self.num_single} training prompts have one completion: nothing to compare")
        return [line for line in found if line]

    def _sameness(self, name: str) -> str:
        """Of a reward that gives one value to nearly all completions; empty of any other."""
        values, counts = np.unique(self.values(name), return_counts=True)
        total = int(counts.sum())
        if total < 2 or counts.max() < NEARLY_ALL * total:
            return ""
        called = "the reward" if name == "reward" else f"reward '{name.removeprefix('reward_')}'"
        return f"{called} is {values[counts.argmax()]:g} for {counts.max()} of {total} completions"

    def facts(self) -> dict[str, Any]:
        """All of it, for the manifest."""
        return {
            "groups": self.num_groups,
            "completions": len(self._values["reward"]),
            "metrics": self.metrics(),
            "quantiles": self.quantiles(),
            "agreement": self.agreement(),
        }

    def values(self, name: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """[N] one of ``names`` of every completion."""
        return np.frombuffer(self._values[name]) if self._values[name] else np.zeros(0)

    def correlation(self, one: str, other: str) -> float | None:
        """Of two of ``names``, once each prompt's means are taken off; None when one does not vary."""
        return self._correlation(self.names.index(one), self.names.index(other))

    def _correlation(self, i: int, j: int) -> float | None:
        scale = math.sqrt(self._products[i, i] * self._products[j, j])
        return float(self._products[i, j] / scale) if 0 < scale < math.inf else None


def scale_of(part: str, values: Sequence[float]) -> Scale:
    """Mean and standard deviation of a part over all completions.

    Raises:
        RewardError: there are none, or they are all equal.
    """
    x = np.asarray(values, dtype=np.float64)
    std = float(x.std()) if x.size else 0.0
    if not 0 < std < math.inf or float(np.ptp(x)) == 0:
        raise RewardError(
            f"reward '{part}' cannot be standardised: its {x.size} values in the train split have no spread"
        )
    return Scale(float(x.mean()), std)
