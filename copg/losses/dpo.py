"""DPO (direct preference optimisation), https://arxiv.org/abs/2305.18290, on ranked groups."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from copg.losses.groups import Completions, check_completions, group_sum, log_ratios
from copg.losses.pairs import Pairing, preference_pairs


def dpo_loss(completions: Completions, *, beta: float, pairs: Pairing = "all") -> Tensor:
    """DPO: with delta the log-ratio of the winner minus that of the loser, a pair's loss is

        -log sigmoid(beta * delta)

    in nats. A group's loss is 1/(K-1) times the sum over its pairs (``all``), or the plain sum
    (``disjoint``). Rewards only rank, and ties give no pair.

    Args:
        completions: of G prompts; only the order of rewards within a group counts, and ties give no pair.
        beta: KL strength per unit of preference, 1/nat; > 0.
        pairs: ``all`` or ``disjoint`` pairs of a group.

    Returns:
        [G] one loss per group, not reduced; 0 without gradient where a group gives no pair.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    log_ratio = log_ratios(completions)
    winner, loser, weight = preference_pairs(completions.rewards, group, sizes, pairs)
    losses = -logsigmoid(beta * (log_ratio[winner] - log_ratio[loser]))
    return group_sum(weight.to(losses.dtype) * losses, group[winner], len(sizes))


def dpo_disjoint_loss(completions: Completions, *, beta: float) -> Tensor:
    """``dpo_loss`` of disjoint pairs."""
    return dpo_loss(completions, beta=beta, pairs="disjoint")
