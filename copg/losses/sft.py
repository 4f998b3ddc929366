"""Supervised fine-tuning on the best completion: the floor, since it needs no reference and no contrast."""

from torch import Tensor

from copg.losses.groups import check_completions, group_extreme, group_sum


def sft_loss(
    policy_logps: Tensor, ref_logps: Tensor, rewards: Tensor, group: Tensor, *, beta: float
) -> Tensor:
    """Cross-entropy of the completion with the highest reward of each group, in nats.

    Where several share the highest reward, their mean.

    Args:
        policy_logps: [N] under the policy being trained, nats.
        ref_logps: [N]; not used.
        rewards: [N]; only the largest of a group counts.
        group: [N] index of the prompt each completion belongs to.
        beta: not used, as nothing ties the policy to the reference.

    Returns:
        [G] one loss per group, not reduced.
    """
    sizes = check_completions(policy_logps, ref_logps, rewards, group, beta=beta)
    best = group_extreme(rewards, group, len(sizes), largest=True)
    share = best / group_sum(best.int(), group, len(sizes))[group]
    return -group_sum(share * policy_logps, group, len(sizes))
