"""RPO (reward-aware preference optimisation), https://arxiv.org/abs/2502.00203: DPO with soft labels."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from copg.losses.groups import Completions, centre_rewards, check_completions, group_sum, log_ratios


def rpo_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""How far the policy's preference in each pair lies from that of the rewards.

    With dR and delta the difference of two rewards and of two log-ratios, a pair's loss is the KL
    between two coins, in nats,

        KL(sigmoid(dR) || sigmoid(beta * delta))

    which is 0 where beta * delta = dR: at CoPG's optimum, for every pair at once. DPO has a label of 1 in
    place of sigmoid(dR). A group's loss is 1/(K-1) times the sum over its pairs, ties among them.

    Args:
        completions: of G prompts, with rewards in a unit in which 1 is a clear difference: what training
            gives it counts rewards, and beta, in spreads of the training rewards.
        beta: KL strength, in that unit per nat; > 0.

    Returns:
        [G] one loss per group, not reduced; 0 without gradient for a group of one.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    rewards = centre_rewards(completions, sizes, log_ratio.dtype)
    first, second = (group[:, None] == group[None, :]).triu(1).nonzero(as_tuple=True)
    wanted = rewards[first] - rewards[second]
    found = beta * (log_ratio[first] - log_ratio[second])
    label = wanted.sigmoid()
    losses = _cross_entropy(found, label) - _cross_entropy(wanted, label)
    return group_sum(losses / (sizes[group[first]] - 1), group[first], len(sizes))


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, label, reduction="none")
