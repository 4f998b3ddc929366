"""Win rate of a policy against another over the same prompts, with its 95 % interval."""

from collections.abc import Sequence
from dataclasses import asdict

import datasets
import evaluate

from copg.evaluation.estimates import paired_difference, win_rate

DESCRIPTION = """Probability that a policy's completion earns more than another's for the same prompt, a tie
counting half, and the reward it gains, each with a bootstrap 95 % interval over prompts."""
INPUTS = """
Args:
    rewards: for each prompt, the reward of each of the policy's completions.
    other_rewards: the same of the other policy, for the same prompts in the same order.

Returns:
    win_rate: {mean, low, high}; .5 is no difference.
    gain: {mean, low, high}, reward of the policy minus the other's, in reward units.
"""


class WinRate(evaluate.Metric):  # type: ignore[misc]
    """One row a prompt; the two policies may have drawn different numbers of completions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features(
                {name: datasets.List(datasets.Value("float64")) for name in ("rewards", "other_rewards")}
            ),
        )

    def _compute(
        self, rewards: Sequence[Sequence[float]], other_rewards: Sequence[Sequence[float]]
    ) -> dict[str, dict[str, float]]:
        return {
            "win_rate": asdict(win_rate(rewards, other_rewards)),
            "gain": asdict(paired_difference(rewards, other_rewards)),
        }
