"""What every loss takes, and sums over the completions of each prompt: groups of any size, unpadded."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Completions(NamedTuple):
    """Completions of some prompts in one flat batch; a log-probability is a sum over completion tokens.

    The end-of-sequence token is included: only then is the optimum the KL-regularised one.
    """

    policy_logps: Tensor
    """[N] under the policy being trained, nats."""
    ref_logps: Tensor
    """[N] under the frozen reference, nats."""
    rewards: Tensor
    """[N] in reward units; some methods see their order alone."""
    num_tokens: Tensor
    """[N] completion tokens, the end-of-sequence token included."""
    group: Tensor
    """[N] index of the prompt each completion belongs to, 0..G-1, every one present."""
    values: Tensor | None = None
    """[N] value of each completion's prompt as it is learnt beside the policy, reward units; None for methods
    that learn none."""
    reference_point: Tensor | None = None
    """[N] mean log-ratio of completions of other prompts, at least 0, one for all of a step, nats; rewards
    then count from what is neither good nor bad. None for methods that need none."""


class GroupLoss(Protocol):
    """A loss of groups of completions."""

    def __call__(self, completions: Completions, *, beta: float) -> Tensor:
        """[G] one loss a group, not reduced."""
        ...


def group_sizes(group: Tensor) -> Tensor:
    """[G] number of completions K of each group, from the [N] group of each completion.

    Raises:
        ValueError: when ``group`` is not a vector of integers 0..G-1 with every one of them present.
    """
    if group.ndim != 1 or group.is_floating_point():
        raise ValueError(f"group is {group.dtype} of shape {tuple(group.shape)}: it must be [N] integers")
    if group.numel() and int(group.min()) < 0:
        raise ValueError(f"group holds {int(group.min())}: indices start at 0")
    sizes = torch.bincount(group)
    if bool((sizes == 0).any()):
        missing = int((sizes == 0).nonzero()[0])
        raise ValueError(
            f"group has no completion of group {missing}: every index 0..{len(sizes) - 1} must occur"
        )
    return sizes


def group_sum(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """[G] sum of the [N] values of each group."""
    return values.new_zeros(num_groups).index_add(0, group, values)


def group_mean(values: Tensor, group: Tensor, sizes: Tensor) -> Tensor:
    """[G] mean of the [N] values of each group."""
    return group_sum(values, group, len(sizes)) / sizes


def centre(values: Tensor, group: Tensor, sizes: Tensor) -> Tensor:
    """[N] values minus the mean of their group; exactly 0 where a group has one completion."""
    return values - group_mean(values, group, sizes)[group]


def centre_rewards(completions: Completions, sizes: Tensor, dtype: torch.dtype) -> Tensor:
    """[N] rewards minus the mean of their group, centred before they are cast to ``dtype``.

    A constant added to the rewards of a prompt, however large, then costs neither them nor the log-ratios
    their digits, and those of a tied group are exactly 0.
    """
    group, rewards = completions.group, widen(completions.rewards)
    start = rewards.new_zeros(len(sizes))
    lowest = start.scatter_reduce(0, group.long(), rewards, "amin", include_self=False)
    return centre(rewards - lowest[group], group, sizes).to(dtype)


def group_extreme(values: Tensor, group: Tensor, num_groups: int, *, largest: bool) -> Tensor:
    """[N] True where a value is the largest (or smallest) of its group; ties are all True."""
    start = values.new_zeros(num_groups)
    reduce = "amax" if largest else "amin"
    return values == start.scatter_reduce(0, group.long(), values, reduce, include_self=False)[group]


def group_softmax(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """[N] softmax of the values within each group."""
    start = values.new_zeros(num_groups)
    top = start.scatter_reduce(0, group.long(), values, "amax", include_self=False)
    weights = (values - top[group]).exp()
    return weights / group_sum(weights, group, num_groups)[group]


def check_completions(completions: Completions, *, beta: float) -> Tensor:
    """Check what every loss asks of its arguments, and return the [G] group sizes.

    Raises:
        ValueError: shapes other than [N] each, a group index missing, or a beta that is not > 0.
    """
    if not beta > 0:
        raise ValueError(f"beta={beta} must be > 0: at 0 nothing ties the policy to the reference")
    given = {name: value for name, value in completions._asdict().items() if value is not None}
    shapes = {name: tuple(value.shape) for name, value in given.items()}
    if completions.policy_logps.ndim != 1 or len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"all must be [N], one value a completion; found {found}")
    return group_sizes(completions.group)


def widen(values: Tensor) -> Tensor:
    """The values in float32 or better: sums of hundreds of nats do not fit bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_ratios(completions: Completions) -> Tensor:
    """[N] log(policy / ref), in nats."""
    return widen(completions.policy_logps) - completions.ref_logps
