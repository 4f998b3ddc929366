"""A*-PO (optimal advantage regression), https://arxiv.org/abs/2505.20686, on groups of logged completions."""

from torch import Tensor

from copg.losses.groups import (
    Completions,
    centre_rewards,
    check_completions,
    group_mean,
    group_sum,
    log_ratios,
)


def astar_po_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""Squares of what is left between beta * log(policy / ref) and the optimal advantage.

    With R_b = R - beta * log(policy / ref), the loss of a group of K completions is

        sum over i of (R_b(i) - V)**2 / (2 * beta),    V = beta * log(mean over i of exp(R(i) / beta))

    where V stands for beta * log Z, the value of the prompt under the best policy. It is CoPG's loss but for
    V, which is R_b's mean there: with V exact both have the same optimum. Here the reference must have drawn
    the completions, and V of few is too low, by Jensen's inequality, and another in each group.

    The papers' two betas, of V and of the regression, are one, without which no policy fits. As in OAPL,
    https://arxiv.org/abs/2602.19362, V is of the completions that are trained on. In a group of one or of
    ties the reward is V: only the pull to the reference is left.

    Args:
        completions: of G prompts, drawn by the reference, with rewards in reward units.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        [G] one loss per group, not reduced; a group weighs in proportion to its K.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    rewards = centre_rewards(completions, sizes, log_ratio.dtype)  # which V moves along with
    left = rewards - _values(rewards, group, sizes, beta)[group] - beta * log_ratio
    return group_sum(left**2, group, len(sizes)) / (2 * beta)


def _values(rewards: Tensor, group: Tensor, sizes: Tensor, beta: float) -> Tensor:
    """[G] beta * log mean exp(R / beta), in reward units."""
    start = rewards.new_zeros(len(sizes))
    top = start.scatter_reduce(0, group.long(), rewards, "amax", include_self=False)
    tilted = ((rewards - top[group]) / beta).exp()
    return top + beta * group_mean(tilted, group, sizes).log()
