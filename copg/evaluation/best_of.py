"""Best of n: what comes of drawing n completions and taking the best, without any training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul

from copg.evaluation.estimates import Bounds, Clusters, estimate
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


def best_of(
    rewards: Mapping[str, Sequence[float]],
    *,
    bounds: Bounds = None,
    clusters: Mapping[str, str] | None = None,
) -> list[BestOf]:
    """The best of 1, 2, 4, 8, ... completions, and of all that were drawn for each prompt.

    Of fewer than all it is the mean over every choice of n of them, which has no bias.

    Args:
        rewards: of the reference's completions, by prompt, reward units.
        bounds: of a reward; None where there is none.
        clusters: what prompts that belong together share, by prompt; one without stands for itself.

    Returns:
        Nothing where one was drawn a prompt, for fewer than two prompts or clusters, or with a reward that is
        not finite.
    """
    num_drawn = min(map(len, rewards.values()), default=0)
    together = [(clusters or {}).get(prompt, prompt) for prompt in rewards]
    if num_drawn < 2 or len(set(together)) < 2:
        return []
    if not all(math.isfinite(value) for values in rewards.values() for value in values):
        return []
    drawn = [sorted(of_prompt[:num_drawn]) for of_prompt in rewards.values()]
    doubled = [2**power for power in range(num_drawn.bit_length()) if 2**power < num_drawn]
    return [_best_of(n, drawn, bounds, together) for n in (*doubled, num_drawn)]


def _best_of(n: int, drawn: Sequence[Sequence[float]], bounds: Bounds, clusters: Clusters) -> BestOf:
    """Of ``drawn`` [prompts][N] in rising order: the i-th is the best of C(i - 1, n - 1) choices of n."""
    num_drawn = len(drawn[0])
    shares = [math.comb(place, n - 1) / math.comb(num_drawn, n) for place in range(num_drawn)]
    best = [[math.fsum(map(mul, shares, values))] for values in drawn]
    reward = estimate(best, bounds=bounds, clusters=clusters)
    return BestOf(n, math.log(n) - (n - 1) / n, reward)
