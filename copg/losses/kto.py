"""KTO (Kahneman-Tversky optimisation), https://arxiv.org/abs/2402.01306, on groups."""

from torch import Tensor

from copg.losses.diagnostics import weighted_log_ratio
from copg.losses.groups import Completions, check_completions, group_sum, log_ratios


def kto_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""How little a policy prefers what is better, and avoids what is worse, than a reference point.

    With d = log(policy / ref), the loss of a group of K completions is

        sum over desirable i of sigmoid(beta * (z - d(i))) + over undesirable i of sigmoid(beta * (d(i) - z))

    where z is the reference point, KL(policy || ref) at the prompt, which no gradient goes through and which
    is at least 0. A completion is desirable where it beats more of its group than beat it, undesirable where
    fewer: with thumbs, the one where it is up and the other where it is down. One in the middle counts not.

    The paper, which has one completion a prompt, takes for z the mean log-ratio of completions of other
    prompts. Here it is that of the group's own, weighted by policy / ref: they have to be the reference's.

    Args:
        completions: of G prompts, drawn by the reference; only the order of rewards within a group counts.
        beta: how soon a gain or a loss saturates, 1/nat; > 0.

    Returns:
        [G] one loss per group, not reduced; 0 without gradient where all rewards of a group are equal.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    together = group[:, None] == group[None, :]
    higher = together & (completions.rewards[:, None] > completions.rewards[None, :])
    side = (higher.sum(1) - higher.sum(0)).sign()
    above = log_ratios(completions) - weighted_log_ratio(completions).clamp(min=0)[group]
    return group_sum(side.abs() * (-side * beta * above).sigmoid(), group, len(sizes))
