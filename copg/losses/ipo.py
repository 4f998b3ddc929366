"""IPO (identity preference optimisation), https://arxiv.org/abs/2310.12036, on ranked groups."""

from torch import Tensor

from copg.losses.groups import Completions, check_completions, group_sum, log_ratios, widen
from copg.losses.pairs import Pairing, preference_pairs


def ipo_loss(completions: Completions, *, beta: float, pairs: Pairing = "all") -> Tensor:
    """IPO in the sum form of Prop. 3, https://arxiv.org/abs/2406.19185.

    With delta the log-ratio of the winner minus that of the loser, summed over tokens, a pair's loss is

        (1/2 - beta * delta)**2 / (2 * beta)

    which is ``copg_loss`` with rewards of +1/4 and -1/4. Rewards only rank: their sizes are not seen.
    A group's loss is 1/(K-1) times the sum over its pairs (``all``), or the plain sum (``disjoint``).

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
    margin = 0.5 - beta * (log_ratio[winner] - log_ratio[loser])
    return group_sum(weight.to(margin.dtype) * margin**2 / (2 * beta), group[winner], len(sizes))


def ipo_disjoint_loss(completions: Completions, *, beta: float) -> Tensor:
    """``ipo_loss`` of disjoint pairs."""
    return ipo_loss(completions, beta=beta, pairs="disjoint")


def ipo_length_normalised_loss(completions: Completions, *, beta: float) -> Tensor:
    """IPO on log-ratios a token, as TRL, LLaMA-Factory and ms-swift have it.

    The optimum then depends on length, and beta is not comparable with that of ``ipo_loss``: at equal
    lengths n it is n times as large for the same policy.

    Raises:
        ValueError: a completion of no tokens.
    """
    check_completions(completions, beta=beta)
    num_tokens = completions.num_tokens
    if bool((num_tokens < 1).any()):
        raise ValueError("num_tokens must be [N] and >= 1: log-ratios are divided by completion length")
    policy, ref = widen(completions.policy_logps) / num_tokens, widen(completions.ref_logps) / num_tokens
    return ipo_loss(completions._replace(policy_logps=policy, ref_logps=ref), beta=beta)
