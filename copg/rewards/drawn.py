"""Completions that a run drew for itself: their column, and the rewards of draws by prompt."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from copg.artifacts import Manifest
from copg.records import Completion

DRAWN = "drawn"
"""Column of a completion that was drawn: by whom, how, and how often."""
TIMES = "times"
"""Of ``DRAWN``: in how many draws of its prompt it came."""
SAMPLER = "sampler"
"""Of the facts of groups: who drew some of their completions; absent where nobody did."""
VALIDATED = "validated"
"""Of the facts of groups with drawn completions: the settings by which their records were read and split."""


def validated(groups: Manifest) -> Mapping[str, Any]:
    """The settings by which the records of groups were read and split, whoever drew completions since."""
    settings: Mapping[str, Any] = groups.facts.get(VALIDATED, groups.config)
    return settings


def times_drawn(completion: Completion) -> int:
    """In how many draws of its prompt a completion came; 0 for one that was logged alone."""
    about = completion.columns.get(DRAWN)
    times = about.get(TIMES) if isinstance(about, dict) else None
    return times if type(times) is int else 0


def note_draw(completion: Completion, about: Mapping[str, Any]) -> None:
    """Count a draw of a completion; at the first, ``about`` says who drew it."""
    times = times_drawn(completion)
    known = completion.columns[DRAWN] if times else about
    completion.columns = {**completion.columns, DRAWN: {**known, TIMES: times + 1}}


class Draws:
    """Rewards of draws, prompt by prompt; holds a number a draw, one a prompt, and no more that grows."""

    def __init__(self) -> None:
        self._rewards, self._counts = array("d"), array("q")

    def add(self, completions: Iterable[Completion]) -> None:
        """A prompt's, scored: those that were drawn, each as often as it came; others are passed over."""
        before = len(self._rewards)
        for completion in completions:
            if completion.reward is not None:
                self._rewards.extend([completion.reward] * times_drawn(completion))
        self._counts.append(len(self._rewards) - before)

    @property
    def most(self) -> int:
        """Draws of the prompt that has most of them."""
        return max(self._counts, default=0)

    def by_prompt(self) -> Iterator["np.ndarray[Any, np.dtype[np.float64]]"]:
        """[K] rewards of each prompt, in the order in which they came."""
        ends = np.cumsum(np.frombuffer(self._counts, np.int64)) if self._counts else np.zeros(1, np.int64)
        rewards = np.frombuffer(self._rewards) if self._rewards else np.zeros(0)
        return iter(np.split(rewards, ends[:-1]))
