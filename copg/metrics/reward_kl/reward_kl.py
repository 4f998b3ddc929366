"""Reward and KL of a policy over prompts, with 95 % intervals."""

from collections.abc import Sequence
from dataclasses import asdict

import datasets
import evaluate

from copg.kl import estimate, kl_k1

DESCRIPTION = """Mean reward of a policy's completions, and its KL divergence from the reference in nats a
completion, each with a bootstrap 95 % interval over prompts."""
INPUTS = """
Args:
    rewards: for each prompt, the reward of each of its completions, drawn from the policy.
    log_ratios: for each prompt, log pi(y|x) - log pi_ref(y|x) of the same completions, in nats.

Returns:
    reward: {mean, low, high}, in reward units.
    kl: {mean, low, high}, in nats a completion (k1 of http://joschu.net/blog/kl-approx.html).
"""


class RewardKL(evaluate.Metric):  # type: ignore[misc]
    """One row a prompt, as many completions in it as were drawn."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features(
                {name: datasets.List(datasets.Value("float64")) for name in ("rewards", "log_ratios")}
            ),
            reference_urls=["http://joschu.net/blog/kl-approx.html"],
        )

    def _compute(
        self, rewards: Sequence[Sequence[float]], log_ratios: Sequence[Sequence[float]]
    ) -> dict[str, dict[str, float]]:
        kl = estimate([kl_k1(values).tolist() for values in log_ratios])
        return {"reward": asdict(estimate(rewards)), "kl": asdict(kl)}
