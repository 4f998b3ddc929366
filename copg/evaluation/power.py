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
MOST = 2048
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
    min_gain: float = 0.0
    """Reward units: what the low end of a gain's interval has to exceed."""
    most: int = MOST
    """Gate prompts beyond which is not looked how many a gain needs."""

    @property
    def fewest(self) -> float:
        """With fewer prompts no gain passes, however large; infinite where none ever does."""
        if self.bounds is None:
            return MIN_PROMPTS
        width = self.bounds[1] - self.bounds[0]
        return fewest_prompts(self.level, self.min_gain / width) if width > self.min_gain else math.inf

    def prompts_needed(self, gain: float) -> int | None:
        """Gate prompts with which a gain, in reward units, passes four times in five; None where too many."""
        if self.fewest > self.most:
            return None
        found = _first(lambda n: self._sees(gain, n), int(self.fewest), self.most)
        return None if found > self.most else found

    def gain_seen(self, num_prompts: int) -> float:
        """The smallest gain that passes four times in five, in reward units; infinite where there is none."""
        steps = 10_000
        most = self.min_gain + 10 * self.spread if self.bounds is None else self.bounds[1] - self.bounds[0]
        if num_prompts < self.fewest or not self._sees(most, num_prompts):
            return math.inf
        return most * _first(lambda step: self._sees(most * step / steps, num_prompts), 1, steps) / steps

    def _sees(self, gain: float, num_prompts: int) -> bool:
        deviation = self.spread * math.sqrt(2 / self.samples)
        if self.bounds is None:
            normal = NormalDist()
            distance = normal.inv_cdf(1 - self.level) + normal.inv_cdf(POWER)
            beyond = max(0.0, gain - self.min_gain)
            return num_prompts * beyond**2 >= _OF_STUDENT * (distance * deviation) ** 2
        width = 2 * (self.bounds[1] - self.bounds[0])  # of differences
        drawn = gain / width, deviation / width
        return _share_seen(*drawn, num_prompts, self.level, least=self.min_gain / width) >= _AIM


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number from ``low`` on for which it holds, as for all larger; ``high`` + 1 where for none."""
    while low <= high:
        middle = (low + high) // 2
        low, high = (low, middle - 1) if holds(middle) else (middle + 1, high)
    return low


def _share_seen(shift: float, deviation: float, num_prompts: int, level: float, *, least: float) -> float:
    """How often normal differences with a mean of ``shift``, which lie between -1/2 and 1/2, are surely more
    than ``least``.
    """
    import numpy as np

    from copg.evaluation.betting import reached

    drawn = np.random.default_rng(0).normal(shift, deviation, (num_prompts, _LIVES))
    return float(reached(np.clip(0.5 + drawn, 0.0, 1.0), 0.5 + least, level).mean())


@cache
def fewest_prompts(level: float, share: float = 0.0) -> int:
    """With fewer prompts no gain of a bounded reward can pass, however large it is.

    Even where every prompt gains all there is to gain, from the lowest to the highest reward.

    Args:
        level: probability at which a gain that is none passes.
        share: of the largest gain there is, which the gain surely has to exceed.
    """
    import numpy as np

    from copg.evaluation.betting import reached

    def passes(num_prompts: int) -> bool:
        return bool(reached(np.ones((num_prompts, 1)), 0.5 + share / 2, level).all())

    return _first(passes, MIN_PROMPTS, MOST)


def refusal(gate: Gate, num_prompts: int) -> str:
    """Why so many prompts can promote nothing whatever comes out, in one line; empty where they can."""
    if num_prompts >= gate.fewest:
        return ""
    if math.isfinite(gate.fewest):
        least = f"{gate.fewest:.0f} are needed"
    else:
        low, high = gate.bounds or (-math.inf, math.inf)
        least = f"no gain of a reward from {low:g} to {high:g} exceeds promote.min_gain={gate.min_gain:g}"
    return f"gate: nothing can be promoted with {num_prompts} prompts at error {gate.level:.2g}: {least}"


def outlook(gate: Gate, num_prompts: int) -> str:
    """What the gate will be able to see, in one line."""
    if not gate.spread > 0:
        return refusal(gate, num_prompts)
    smallest, wanted = gate.gain_seen(num_prompts), gate.prompts_needed(GAIN * gate.spread)
    worth = f"a gain of {GAIN * gate.spread:.3g} ({GAIN:g} of the spread within a prompt)"
    needs = f"{worth} needs {wanted or f'more than {gate.most}'}"
    if nothing := refusal(gate, num_prompts):
        return f"{nothing}; {needs}"
    if math.isinf(smallest):
        return (
            f"gate: {num_prompts} prompts see no gain four times in five at error {gate.level:.2g}; {needs}"
        )
    return (
        f"gate: {num_prompts} prompts x {gate.samples} completions see a gain of {smallest:.3g} four times "
        f"in five at error {gate.level:.2g}; {needs}"
    )


def first_outlook(samples: int, level: float, num_prompts: int) -> str:
    """``outlook`` of a reward without bounds while no value of it is known: its spread is the unit."""
    gate = Gate(spread=1.0, samples=samples, level=level)
    smallest, wanted = gate.gain_seen(num_prompts), gate.prompts_needed(GAIN)
    if math.isinf(smallest):
        return refusal(gate, num_prompts)
    return (
        f"gate: {num_prompts} prompts x {samples} completions see a gain of {smallest:.2g} spreads of the "
        f"reward within a prompt four times in five at error {level:.2g}; one of {GAIN:g} needs "
        f"{wanted or f'more than {gate.most}'}"
    )
