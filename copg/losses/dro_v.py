"""DRO-V (direct reward optimisation), https://arxiv.org/abs/2405.19107, on groups of any size."""

from torch import Tensor

from copg.losses.groups import Completions, check_completions, group_sum, log_ratios


def dro_v_loss(completions: Completions, *, beta: float) -> Tensor:
    r"""Squares of what is left between beta * log(policy / ref) and the reward, less a value that is learnt.

    With R_b = R - beta * log(policy / ref), the loss of a group of K completions is

        sum over i of (R_b(i) - V)**2 / (2 * beta)

    which is the paper's over beta. Its gradient by the policy is the paper's, minus the sum over i of
    (R_b(i) - V) * grad log policy(i), and by V minus the sum of R_b(i) - V over beta. V stands for
    beta * log Z, the value of the prompt under the best policy, and is what a head on the policy's states
    makes of the prompt: it learns across prompts, so a group of one teaches something.

    It is CoPG's loss but for V. At its least squares V is the mean of R_b, which leaves (K - 1) / K times
    ``copg_loss``: where a prompt has several completions, what a head has to learn is known exactly.

    Args:
        completions: of G prompts, from anywhere, with rewards in reward units, and values.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        [G] one loss per group, not reduced, with a gradient to the values; a group weighs in proportion to K.

    Raises:
        ValueError: there are no values.
    """
    group, sizes = completions.group, check_completions(completions, beta=beta)
    if completions.values is None:
        raise ValueError("values are missing: dro_v learns the value of each prompt beside the policy")
    log_ratio = log_ratios(completions)
    left = completions.rewards.to(log_ratio.dtype) - completions.values - beta * log_ratio
    return group_sum(left**2, group, len(sizes)) / (2 * beta)
