"""Reward and KL of a policy over prompts, with 95 % intervals."""

import tempfile
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any

import datasets
import evaluate

from copg.evaluation.estimates import estimate, kl_k1

DESCRIPTION = """Mean reward of a policy's completions, and its KL divergence from the reference in nats a
completion, each with a 95 % interval over prompts."""
INPUTS = """
Args:
    rewards: for each prompt, the reward of each of its completions, drawn from the policy.
    kls: for each prompt, the KL over the whole vocabulary at each position of the same completions, summed
        over positions, in nats.
    log_ratios: for each prompt, log pi(y|x) - log pi_ref(y|x) of the same completions, in nats.
    bounds: lowest and highest reward there can be; the reward's interval is exact then.
    clusters: for each prompt, what it shares with those that count as one with it.

Returns:
    reward: {mean, low, high}, in reward units.
    kl: {mean, low, high}, in nats a completion (Rao-Blackwell estimator, https://arxiv.org/abs/2504.10637).
    kl_k1: {mean, low, high}, the same KL from the log-ratios alone: unbiased as well, and noisier (k1 of
        http://joschu.net/blog/kl-approx.html).
"""
COLUMNS = ("rewards", "kls", "log_ratios")


class RewardKL(evaluate.Metric):  # type: ignore[misc]
    """Takes one list a prompt, with a value for each completion drawn."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({name: datasets.List(datasets.Value("float64")) for name in COLUMNS}),
            reference_urls=["https://arxiv.org/abs/2504.10637", "http://joschu.net/blog/kl-approx.html"],
        )

    def _compute(
        self,
        rewards: Sequence[Sequence[float]],
        kls: Sequence[Sequence[float]],
        log_ratios: Sequence[Sequence[float]],
        bounds: tuple[float, float] | None = None,
        clusters: Sequence[Hashable] | None = None,
    ) -> dict[str, dict[str, float]]:
        k1 = [kl_k1(values).tolist() for values in log_ratios]
        found = {"reward": estimate(rewards, bounds=bounds, clusters=clusters)}
        found |= {name: estimate(of, clusters=clusters) for name, of in (("kl", kls), ("kl_k1", k1))}
        return {name: asdict(each) for name, each in found.items()}


def compute_reward_kl(**columns: Any) -> dict[str, Any]:
    """The metric over ``columns``, one list a prompt, and its settings, without a hub.

    ``evaluate`` makes a cache folder even for what it keeps in memory. Here the folder is a temporary one, so
    that a read-only home does not matter. ``evaluate.load`` on this file's folder gives the same numbers.
    """
    with tempfile.TemporaryDirectory() as cache:
        found: dict[str, Any] = RewardKL(cache_dir=cache, keep_in_memory=True).compute(**columns)
    return found
