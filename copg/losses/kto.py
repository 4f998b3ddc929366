"""KTO (Kahneman-Tversky optimisation), https://arxiv.org/abs/2402.01306, on groups of any size."""

from torch import Tensor

from copg.losses.groups import Completions, check_completions, group_sum, log_ratios


def kto_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""How little a policy prefers what is better, and avoids what is worse, than a reference point.

    With d = log(policy / ref), the loss of a group of K completions is

        sum over desirable i of sigmoid(beta * (z - d(i))) + over undesirable i of sigmoid(beta * (d(i) - z))

    where z is the reference point, for which the paper takes the mean of d over completions of other prompts,
    at least 0: what the policy came to say more often whatever it is asked. No gradient goes through it.

    A completion is desirable where it beats more of its group than beat it, undesirable where fewer, and one
    in the middle counts not. Where no two rewards of a group differ, as of a single completion, it is
    desirable with a reward above 0 and undesirable below. With thumbs, both come to the thumb.

    Args:
        completions: of G prompts, from anywhere, with a reference point, and rewards that are 0 where neither
            good nor bad; only their order within a group and their sign count.
        beta: how soon a gain or a loss saturates, 1/nat; > 0.

    Returns:
        [G] one loss per group, not reduced; a group weighs in proportion to its completions with a side.

    Raises:
        ValueError: there is no reference point.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    if completions.reference_point is None:
        raise ValueError("reference_point is missing: kto compares with completions of other prompts")
    rewards, together = completions.rewards, group[:, None] == group[None, :]
    higher = together & (rewards[:, None] > rewards[None, :])
    differs = group_sum(higher.sum(1), group, len(sizes))[group] > 0
    side = (higher.sum(1) - higher.sum(0)).sign().where(differs, rewards.sign())
    above = log_ratios(completions) - completions.reference_point.detach()
    return group_sum(side.abs() * (-side * beta * above).sigmoid(), group, len(sizes))
