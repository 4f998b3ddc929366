"""J = E[R] - beta KL: what a policy is worth at a price of a nat, and whether it beats doing nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from copg.evaluation.estimates import Clusters, estimate, paired_difference
from copg.losses.units import has_reward_units
from copg.records import Estimate, Evaluation

Values = Mapping[str, Sequence[float]]
"""By prompt, one a completion."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a policy is worth at one beta, beside the reference, on the prompts that both answered."""

    beta: float
    """Reward units per nat: the price of a nat."""
    value: Estimate
    """J, reward units."""
    gain: Estimate
    """J less the reference's, whose KL is 0, paired by prompt."""
    predicted: float | None = None
    """The most that the gain can be, J* - J_ref as the logs predict it; None where they predict nothing."""

    @property
    def share(self) -> Estimate | None:
        """The gain as a share of the predicted one, which may exceed 1 where that is a lower bound."""
        if self.predicted is None or not self.predicted > 0:
            return None
        return Estimate(
            *(value / self.predicted for value in (self.gain.mean, self.gain.low, self.gain.high))
        )

    def facts(self) -> dict[str, Any]:
        """Plain values, with the share of the predicted gain."""
        return {**asdict(self), "share": asdict(self.share) if self.share else None}

    @property
    def below_reference(self) -> bool:
        """True where doing nothing is surely worth more."""
        return self.gain.high < 0


def measure_objective(
    rewards: Values,
    kls: Values,
    ref_rewards: Values,
    *,
    beta: float,
    predicted: float | None = None,
    clusters: Mapping[str, str] | None = None,
) -> Objective | None:
    """J and its gain; None where a value is not finite, or fewer than two prompts, or clusters of them, were
    answered by both.

    Args:
        rewards: of the policy's completions, reward units.
        kls: of the same, nats from the reference.
        ref_rewards: of the reference's completions.
        beta: reward units per nat.
        predicted: J* - J_ref by the logs.
        clusters: what prompts that belong together share, by prompt; one without stands for itself.
    """
    shared = sorted(rewards.keys() & kls.keys() & ref_rewards.keys())
    together = [(clusters or {}).get(prompt, prompt) for prompt in shared]
    mine = _less([rewards[i] for i in shared], [kls[i] for i in shared], beta)
    theirs = [ref_rewards[i] for i in shared]
    if len(set(together)) < 2 or not all(math.isfinite(v) for values in (*mine, *theirs) for v in values):
        return None
    known = predicted if predicted is not None and math.isfinite(predicted) else None
    value, gain = estimate(mine, clusters=together), paired_difference(mine, theirs, clusters=together)
    return Objective(beta, value, gain, known)


def worth(
    rewards: Sequence[Sequence[float]],
    kls: Sequence[Sequence[float]],
    beta: float,
    *,
    clusters: Clusters | None = None,
) -> Estimate:
    """J over prompts, from rewards and KLs of each prompt's completions; ``clusters`` as for ``estimate``."""
    return estimate(_less(rewards, kls, beta), clusters=clusters)


def _less(
    rewards: Sequence[Sequence[float]], kls: Sequence[Sequence[float]], beta: float
) -> list[list[float]]:
    return [[r - beta * k for r, k in zip(*each, strict=True)] for each in zip(rewards, kls, strict=True)]


def own_beta(evaluation: Evaluation) -> float | None:
    """A trial's beta where it is the price of a nat; None for a method that sees order alone."""
    return evaluation.beta if has_reward_units(evaluation.method) else None


def pick_beta(trials: Sequence[Evaluation], chosen: Evaluation | None) -> float | None:
    """The beta at which a run compares all policies, unless its recipe says one.

    That of the CoPG trial whose KL is nearest to the chosen trial's, which is its own where it is one;
    without a choice, of the CoPG trial that earns most.

    Args:
        trials: evaluations of all trials on one split.
        chosen: the best trial's on the same split; None where there is none.

    Returns:
        None where no CoPG trial was measured.
    """
    able = [
        e
        for e in trials
        if (e.method or "").startswith("copg") and e.beta and not e.diverged and math.isfinite(e.kl.mean)
    ]
    if chosen is None or not math.isfinite(chosen.kl.mean):
        best = max(able, key=lambda e: e.reward.mean, default=None)
    elif any(e.name == chosen.name for e in able):
        best = chosen
    else:
        best = min(able, key=lambda e: abs(e.kl.mean - chosen.kl.mean), default=None)
    return best.beta if best else None


def negated(estimate: Estimate) -> Estimate:
    """Of a difference taken the other way round."""
    return Estimate(-estimate.mean, -estimate.high, -estimate.low)
