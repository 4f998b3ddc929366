"""Policy gradient on completions of other policies, without correction: why CoPG needs its contrast.

All three follow the estimator, for a group of K completions and a baseline b held constant,

    1/K * sum over i of (R_b(i) - b) * grad log policy(i),    R_b = R - beta * log(policy / ref)

which is the policy gradient only where the policy itself drew the completions. It is had here as the
gradient of ((R - b) * d - beta/2 * d**2) with d = log(policy / ref), so the losses are honest functions of
the log-ratios but for b.
"""

from torch import Tensor

from copg.losses.groups import (
    Completions,
    centre_rewards,
    check_completions,
    group_mean,
    group_softmax,
    group_sum,
    log_ratios,
)


def pg_loss(completions: Completions, *, beta: float) -> Tensor:
    """Off-policy policy gradient without a baseline, b = 0.

    Adding a constant to the rewards changes where it goes: with rewards all positive it imitates whatever
    was sampled most often.

    Args:
        completions: of G prompts, with rewards in reward units.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        [G] one loss per group, not reduced.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    return _surrogate(log_ratio, completions.rewards.to(log_ratio.dtype), group, sizes, beta)


def pg_value_loss(completions: Completions, *, beta: float) -> Tensor:
    """Off-policy policy gradient with the value baseline of the paper, b = E_policy[R], unregularised.

    The expectation is estimated on the group's own completions, weighted by policy / ref and normalised
    within the group: right for a large group drawn from the reference, the best one can do where the
    sampler is unknown. The fixed point is off: at the optimum R_b is beta * log Z for every completion, and
    E[R] is not.

    Args:
        As ``pg_loss``.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    rewards = centre_rewards(completions, sizes, log_ratio.dtype)  # which the baseline moves along with
    baseline = _value(rewards, log_ratio, group, len(sizes))
    return _surrogate(log_ratio, rewards - baseline[group], group, sizes, beta)


def pg_regularised_value_loss(completions: Completions, *, beta: float) -> Tensor:
    """Off-policy policy gradient with the regularised value baseline, b = E_policy[R_b].

    Estimated as in ``pg_value_loss``. At the optimum R_b equals b for every completion, so the bias of the
    unregularised baseline is gone.

    Args:
        As ``pg_loss``.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    rewards = centre_rewards(completions, sizes, log_ratio.dtype)  # which the baseline moves along with
    baseline = _value(rewards - beta * log_ratio, log_ratio, group, len(sizes))
    return _surrogate(log_ratio, rewards - baseline[group], group, sizes, beta)


def _value(values: Tensor, log_ratio: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """[G] self-normalised estimate of the expectation of ``values`` under the policy, without gradient."""
    weights = group_softmax(log_ratio.detach(), group, num_groups)
    return group_sum(weights * values.detach(), group, num_groups)


def _surrogate(log_ratio: Tensor, advantage: Tensor, group: Tensor, sizes: Tensor, beta: float) -> Tensor:
    return -group_mean(advantage * log_ratio - beta / 2 * log_ratio**2, group, sizes)
