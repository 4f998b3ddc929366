"""What a falling loss hides: how much of the contrast is left, and where best and worst completions went."""

from torch import Tensor

from copg.losses.groups import (
    Completions,
    centre,
    centre_rewards,
    check_completions,
    group_extreme,
    group_mean,
    group_sizes,
    group_softmax,
    group_sum,
    log_ratios,
    widen,
)


def residual_fraction(completions: Completions, *, beta: float) -> Tensor:
    """Var(R_b) / Var(R) within groups, pooled over the batch: 1 at the reference, 0 at the optimum.

    Args:
        completions: with rewards in reward units.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        A scalar; NaN where every group is tied, since there is then nothing to learn from.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions).detach()
    spread = centre_rewards(completions, sizes, log_ratio.dtype)
    left = spread - beta * centre(log_ratio, group, sizes)
    return (left**2).sum() / (spread**2).sum()


def value_error_fraction(completions: Completions, *, beta: float) -> Tensor:
    """How far values of prompts lie from the mean of R_b, at which ``dro_v_loss`` is CoPG's, in squares.

    Over the squares of that mean itself: 1 while every value is 0, and 0 where they are exact.

    Args:
        completions: with rewards in the unit of their values, and values.
        beta: KL strength, in that unit per nat; > 0.

    Returns:
        A scalar; NaN where the mean of R_b is 0 in every group.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    assert completions.values is not None
    log_ratio = log_ratios(completions).detach()
    best = group_mean(completions.rewards.to(log_ratio.dtype) - beta * log_ratio, group, sizes)
    off = best - group_mean(completions.values.detach(), group, sizes)
    return (off**2).sum() / (best**2).sum()


def reward_spread(rewards: Tensor, group: Tensor) -> Tensor:
    """[G] sample standard deviation of the rewards of each group, in reward units: beta's yardstick.

    Adding a constant to a prompt's rewards changes nothing and scaling them is scaling 1/beta, so beta only
    means something beside this. 0 for a group of one.
    """
    sizes = group_sizes(group)
    squares = group_sum(centre(widen(rewards), group, sizes) ** 2, group, len(sizes))
    return (squares / (sizes - 1).clamp(min=1)).sqrt()


def tied_groups(rewards: Tensor, group: Tensor) -> Tensor:
    """[G] True where all rewards of a group of several are equal, as stage ``score`` counts them."""
    sizes = group_sizes(group)
    best = group_extreme(rewards, group, len(sizes), largest=True)
    return (group_sum((~best).int(), group, len(sizes)) == 0) & (sizes > 1)


def weighted_log_ratio(completions: Completions) -> Tensor:
    """[G] log-ratio in nats of each group's completions, weighted by policy / ref: the KL that logs show.

    Of completions drawn from the reference it estimates KL(policy || reference), as long as the policy says
    what they say; one that left them has a KL on its own completions that is larger.
    """
    group, sizes = completions.group, group_sizes(completions.group)
    log_ratio = log_ratios(completions).detach()
    return group_sum(group_softmax(log_ratio, group, len(sizes)) * log_ratio, group, len(sizes))


def extreme_log_ratios(completions: Completions) -> tuple[Tensor, Tensor]:
    """Log-ratio, in nats, of the best and of the worst completion of each group.

    A shift of all log-ratios of a prompt is invisible to the loss; here it shows, as both falling.

    Returns:
        [G] of the best and [G] of the worst; where several share the extreme reward, their mean.
    """
    group, sizes = completions.group, group_sizes(completions.group)
    log_ratio = log_ratios(completions).detach()
    found = []
    for largest in (True, False):
        chosen = group_extreme(completions.rewards, group, len(sizes), largest=largest).to(log_ratio.dtype)
        total = group_sum(chosen * log_ratio, group, len(sizes))
        found.append(total / group_sum(chosen, group, len(sizes)))
    return found[0], found[1]
