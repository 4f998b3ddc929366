"""How large a gain the gate can see, told before anything is trained."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

MIN_PROMPTS = 8
"""With fewer prompts the gate does not decide, whatever the rewards are."""
POWER = 0.8
"""Probability with which a gain is to be seen."""
GAIN = 0.3
"""Standard deviations of the reward within a prompt: a gain worth seeing."""
_MOST = 2048
"""Prompts up to which is looked how many are needed."""
_LIVES = 200
_AIM = 0.87
"""Share of ``_LIVES`` that has to see a gain, so that four in five do for all that it is an estimate."""
_OF_STUDENT = 1.25
"""Prompts that an interval needs for one of a normal of known variance: ``experiments/gate.py``."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What decides how large a gain is seen."""

    spread: float
    """Standard deviation of the reward within a prompt, reward units."""
    samples: int
    """Completions of each prompt, of both policies: the paired difference has the variance 2 / samples."""
    level: float
    """Probability at which a gain that is none passes."""
    bounds: tuple[float, float] | None = None
    """Lowest and highest reward, if there are such; the wider for the spread, the more prompts it takes."""

    @property
    def fewest(self) -> int:
        """With fewer prompts no gain passes, however large."""
        return MIN_PROMPTS if self.bounds is None else fewest_prompts(self.level)

    def prompts_needed(self, gain: float) -> int | None:
        """Gate prompts with which a gain, in reward units, passes four times in five; None where too many."""
        found = _first(lambda n: self._sees(gain, n), self.fewest, _MOST)
        return None if found > _MOST else found

    def gain_seen(self, num_prompts: int) -> float:
        """The smallest gain that passes four times in five, in reward units; infinite where there is none."""
        steps = 10_000
        most = 10 * self.spread if self.bounds is None else self.bounds[1] - self.bounds[0]
        if num_prompts < self.fewest or not self._sees(most, num_prompts):
            return math.inf
        return most * _first(lambda step: self._sees(most * step / steps, num_prompts), 1, steps) / steps

    def _sees(self, gain: float, num_prompts: int) -> bool:
        deviation = self.spread * math.sqrt(2 / self.samples)
        if self.bounds is None:
            normal = NormalDist()
            distance = normal.inv_cdf(1 - self.level) + normal.inv_cdf(POWER)
            return num_prompts * gain**2 >= _OF_STUDENT * (distance * deviation) ** 2
        width = 2 * (self.bounds[1] - self.bounds[0])  # of differences
        return _share_seen(gain / width, deviation / width, num_prompts, self.level) >= _AIM


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from ``low`` on for which it holds, as for all larger; ``high`` + 1 where for none."""
    while low <= high:
        middle = (low + high) // 2
        low, high = (low, middle - 1) if holds(middle) else (middle + 1, high)
    return low


def _share_seen(shift: float, deviation: float, num_prompts: int, level: float) -> float:
    """How often normal differences with a mean of ``shift`` pass, which lie between -1/2 and 1/2."""
    import numpy as np

    from copg.evaluation.betting import reached

    drawn = np.random.default_rng(0).normal(shift, deviation, (num_prompts, _LIVES))
    return float(reached(np.clip(0.5 + drawn, 0.0, 1.0), 0.5, level).mean())


@cache
def fewest_prompts(level: float) -> int:
    """With fewer prompts no gain of a bounded reward can pass, however large it is.

    Even where every prompt gains all there is to gain, from the lowest to the highest reward.
    """
    import numpy as np

    from copg.evaluation.betting import reached

    found = MIN_PROMPTS
    while not reached(np.ones((found, 1)), 0.5, level).all():
        found += 1
    return found


def outlook(gate: Gate, num_prompts: int) -> str:
    """What the gate will be able to see, in one line."""
    smallest, wanted = gate.gain_seen(num_prompts), gate.prompts_needed(GAIN * gate.spread)
    worth = f"a gain of {GAIN * gate.spread:.3g} ({GAIN:g} of the spread within a prompt)"
    needs = f"{worth} needs {wanted or f'more than {_MOST}'}"
    if math.isinf(smallest):
        return f"gate: nothing can be promoted with {num_prompts} prompts at error {gate.level:.2g}; {needs}"
    return (
        f"gate: {num_prompts} prompts x {gate.samples} completions see a gain of {smallest:.3g} four times "
        f"in five at error {gate.level:.2g}; {needs}"
    )
