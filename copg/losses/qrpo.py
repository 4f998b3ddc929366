"""QRPO (quantile reward policy optimisation), https://arxiv.org/abs/2507.08068, on groups."""

import math

from torch import Tensor

from copg.losses.groups import Completions, check_completions, group_sum, log_ratios


def qrpo_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""Squares of what is left between beta * log(policy / ref) and a reward whose normaliser is known.

    The reward is its own quantile q under the reference, which is uniform where no two rewards are equal, so
    that log Z is no estimate. The loss of a group of K completions is

        sum over i of (q(i) - beta * log Z - beta * d(i))**2 / (2 * beta),    Z = beta * (exp(1/beta) - 1)

    with d = log(policy / ref) and q(i) the share of the group's other completions with a reward of at most
    R(i): an estimate without bias where the reference drew them. Its optimum is that of the quantile, not of
    the reward. Where rewards tie, q is not uniform, Z is too small, and no policy fits.

    Args:
        completions: of G prompts, drawn by the reference; only the order of rewards within a group counts.
        beta: KL strength per unit of quantile, 1/nat; > 0.

    Returns:
        [G] one loss per group, not reduced; 0 without gradient for a group of one, which has no quantile.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio, rewards = log_ratios(completions), completions.rewards
    reached = (group[:, None] == group[None, :]) & (rewards[:, None] >= rewards[None, :])
    others = (sizes[group] - 1).clamp(min=1)
    quantile = (reached.sum(1) - 1).to(log_ratio.dtype) / others
    left = quantile - _scaled_log_z(beta) - beta * log_ratio
    left = left.where(sizes[group] > 1, left.new_zeros(()))
    return group_sum(left**2, group, len(sizes)) / (2 * beta)


def _scaled_log_z(beta: float) -> float:
    """Beta times log Z, in units of quantile: between 1/2 at a large beta and 1 at a small one."""
    return 1 + beta * (math.log(beta) + math.log(-math.expm1(-1 / beta)))
