"""What training makes of rewards before it contrasts them; what is reported stays as it was scored."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Transform = Literal["none", "rank", "clip"]
FARTHEST = 2.0
"""Deviations from the median of its prompt beyond which ``clip`` lets no reward go."""
_NORMAL = 1.4826
"""Standard deviation over median absolute deviation, of a normal distribution."""


def transform_rewards(
    rewards: NDArray[np.float64], firsts: NDArray[np.int64], transform: Transform
) -> NDArray[np.float64]:
    """Rewards of all prompts, each prompt's on its own, in units in which beta keeps its meaning.

    ``rank``: the share of the other completions of the prompt that each beats, a tie counting half, times
    what makes the spread within a prompt, mean over prompts, the same as before. ``clip``: no further from
    the median of the prompt than ``FARTHEST`` deviations, estimated by the median absolute one; a prompt
    more than half of whose rewards are equal has none, and stays. Either way s R + c gives s times the same,
    up to a constant a prompt, which no contrast sees.

    Args:
        rewards: [N] reward units.
        firsts: [prompts + 1] where each prompt's begin.
        transform: ``none`` leaves them alone.
    """
    if transform == "none":
        return rewards
    parts = np.split(rewards, firsts[1:-1])
    if transform == "clip":
        return np.concatenate([_clipped(part) for part in parts])
    ranks = [_ranks(part) for part in parts]
    before, after = spread_within(parts), spread_within(ranks)
    found: NDArray[np.float64] = np.concatenate(ranks) * (before / after if after else 1.0)
    return found


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(values)
    beaten = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1) / 2
    found: NDArray[np.float64] = beaten / max(1, len(values) - 1)
    return found


def _clipped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    median = np.median(values)
    deviation = _NORMAL * float(np.median(np.abs(values - median)))
    return (
        np.clip(values, median - FARTHEST * deviation, median + FARTHEST * deviation) if deviation else values
    )


def spread_within(parts: list[NDArray[np.float64]]) -> float:
    """Standard deviation within a prompt, mean over prompts of several completions; 0 without any."""
    spreads = [float((part - part.min()).std(ddof=1)) for part in parts if len(part) > 1]
    return float(np.mean(spreads)) if spreads else 0.0
