"""Supervised fine-tuning on the best completion: the floor, since it needs no reference and no contrast."""

from torch import Tensor

from copg.losses.groups import Completions, check_completions, group_extreme, group_sum


def sft_loss(completions: Completions, *, beta: float) -> Tensor:
    """Cross-entropy of the completion with the highest reward of each group, in nats.

    Where several share the highest reward, their mean.

    Args:
        completions: of G prompts; only the largest reward of a group counts, the reference is not used.
        beta: not used, as nothing ties the policy to the reference.

    Returns:
        [G] one loss per group, not reduced.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    best = group_extreme(completions.rewards, group, len(sizes), largest=True)
    share = best / group_sum(best.int(), group, len(sizes))[group]
    return -group_sum(share * completions.policy_logps, group, len(sizes))
