"""CoPG (contrastive policy gradient), https://arxiv.org/abs/2406.19185, on groups of any size."""

from torch import Tensor

from copg.losses.groups import (
    Completions,
    centre,
    centre_rewards,
    check_completions,
    group_sizes,
    group_sum,
    log_ratios,
)


def copg_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""Contrastive policy gradient loss of groups of completions.

    With R_b = R - beta * log(policy / ref), the loss of a group of K completions is

        1/(K-1) * sum over pairs (i, j) of (R_b(i) - R_b(j))**2 / (2 * beta)

    whose gradient is minus the estimator of Eq. 18, https://arxiv.org/abs/2406.19185, so completions
    may come from any sampler and need no importance weight. It is K / (2 * beta) times the sample variance
    of R_b, and is computed as such: no loop over pairs. Its gradient is minus the sum over the group of
    RLOO's (R_b(i) - mean of the others) * grad log policy(i), so a group weighs in proportion to its K;
    ``copg_mean_loss`` gives every prompt the same weight. A group of one completion has loss 0 and no
    gradient.

    Args:
        completions: of G prompts, with rewards in reward units.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        [G] one loss per group, not reduced.

    Raises:
        ValueError: shapes that differ, a group index missing, a beta that is not > 0.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    contrast = centre_rewards(completions, sizes, log_ratio.dtype) - beta * centre(log_ratio, group, sizes)
    # sum over pairs of (a_i - a_j)**2 = K * sum of (a_i - mean)**2
    pairs = sizes * group_sum(contrast**2, group, len(sizes))
    return pairs / (sizes - 1).clamp(min=1) / (2 * beta)


def copg_mean_loss(completions: Completions, *, beta: float) -> Tensor:
    """``copg_loss`` divided by K: every prompt has the same weight, however many completions it has.

    The value is Var(R_b) / (2 * beta), with the unbiased sample variance; the optimum is the same.
    """
    return copg_loss(completions, beta=beta) / group_sizes(completions.group)
