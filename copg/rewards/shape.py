"""The shape of rewards within a prompt: where the contrast lies, and what to do where one has it all."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SKEWED = 0.5
"""Skew from which one tail is called long."""
WIDE = 1.4
"""How many times its even share of a prompt's range a gap takes from which on it is called wide."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Over prompts of at least three completions that are not tied."""

    num_prompts: int
    skew: float
    """Third moment within a prompt over the deviation cubed: negative where the worst lie far below."""
    bottom_gap: float
    """Share of a prompt's range that lies between the worst and the second worst, mean over prompts."""
    top_gap: float
    """The same between the second best and the best."""
    even: float
    """What each gap would take if all were equal: 1 / (K - 1), mean over prompts."""

    def metrics(self) -> dict[str, float]:
        """Without unit; nothing where no prompt has such a shape."""
        if not self.num_prompts:
            return {}
        return {
            "reward/skew": self.skew,
            "reward/bottom_gap": self.bottom_gap,
            "reward/top_gap": self.top_gap,
        }

    def lines(self) -> list[str]:
        """For a person: the shape in a line, and what follows from it."""
        if not self.num_prompts:
            return []
        told = (
            f"within a prompt, rewards have skew {self.skew:.2f}; of their range "
            f"{100 * self.bottom_gap:.0f} % lie between the two worst and "
            f"{100 * self.top_gap:.0f} % between the two best "
            f"({100 * self.even:.0f} % were even)"
        )
        if self.skew < -SKEWED and self.bottom_gap > WIDE * self.even:
            advice = (
                "the worst completion has most of the contrast, and training is spent on pushing it down: "
                "try train.transform=rank, or clip"
            )
        elif self.skew > SKEWED and self.top_gap > WIDE * self.even:
            advice = (
                "the best completion has most of the contrast: where that is luck or an error of the reward, "
                "train.transform=clip bounds it"
            )
        else:
            return [told]
        return [f"{told}: {advice}"]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def shape_of(rewards: Iterable[NDArray[np.float64]]) -> Shape:
    """The shape of the rewards of some prompts, [K] each, in reward units."""
    gaps, cubes, squares = [], [], []
    for values in rewards:
        if len(values) < 3 or not 0 < np.ptp(values) < np.inf:
            continue
        ordered = np.sort(values) - values.min()
        steps = np.diff(ordered) / ordered[-1]
        centred = (ordered - ordered.mean()) / ordered[-1]
        scale = float(ordered[-1])
        gaps.append((steps[0], steps[-1], 1 / (len(values) - 1)))
        cubes.append((scale, float((centred**3).mean())))
        squares.append((scale, float((centred**2).mean())))
    if not gaps:
        return Shape(0, 0.0, 0.0, 0.0, 0.0)
    unit = float(np.mean([scale for scale, _ in squares]))  # no power of a huge or tiny reward overflows
    third = float(np.mean([(scale / unit) ** 3 * cube for scale, cube in cubes]))
    second = float(np.mean([(scale / unit) ** 2 * square for scale, square in squares]))
    bottom, top, even = (float(np.mean(column)) for column in zip(*gaps, strict=True))
    return Shape(len(gaps), third / second**1.5, bottom, top, even)
