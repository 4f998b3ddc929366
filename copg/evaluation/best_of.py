"""Best of n: what comes of drawing n completions and taking the best, without any training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from copg.evaluation.estimates import estimate
from copg.records import Estimate


@dataclass(frozen=True, slots=True)
class BestOf:
    """What the reference earns by the best of several completions, by the reward itself."""

    num_drawn: int
    """n; each answer costs n completions and their rewards."""
    kl_bound: float
    """Nats a completion: log n - (n - 1) / n, which the KL from the reference does not exceed
    (https://arxiv.org/abs/2401.01879)."""
    reward: Estimate
    """Reward units, over prompts."""


def best_of(rewards: Mapping[str, list[float]]) -> BestOf | None:
    """The best of all completions that were drawn for each prompt.

    Args:
        rewards: of the reference's completions, by prompt, reward units.

    Returns:
        None where one was drawn a prompt, for fewer than two prompts, or with a reward that is not finite.
    """
    num_drawn = min(map(len, rewards.values()), default=0)
    if num_drawn < 2 or len(rewards) < 2:
        return None
    best = [[max(of_prompt[:num_drawn])] for of_prompt in rewards.values()]
    if not all(math.isfinite(value) for values in rewards.values() for value in values):
        return None
    return BestOf(num_drawn, math.log(num_drawn) - (num_drawn - 1) / num_drawn, estimate(best))
