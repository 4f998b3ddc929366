"""Losses of groups of completions: contrastive policy gradient (CoPG), and the door to its rivals.

All share one signature, (policy_logps, ref_logps, rewards, group, *, beta) -> [G]: one number a group,
not reduced. Log-probabilities are sums over completion tokens, the end-of-sequence token included: only
then is the optimum the KL-regularised one.
"""

from functools import partial
from typing import Protocol

from torch import Tensor

from copg.losses.dpo import dpo_loss
from copg.losses.groups import centre, check_completions, group_sum, log_ratios, widen
from copg.losses.ipo import ipo_length_normalised_loss, ipo_loss
from copg.losses.pg import pg_loss, pg_regularised_value_loss, pg_value_loss
from copg.losses.sft import sft_loss


class GroupLoss(Protocol):
    """A loss of groups of completions."""

    def __call__(
        self, policy_logps: Tensor, ref_logps: Tensor, rewards: Tensor, group: Tensor, *, beta: float
    ) -> Tensor:
        """[G] one loss a group, from [N] values a completion; see ``copg_loss``."""
        ...


def copg_loss(
    policy_logps: Tensor, ref_logps: Tensor, rewards: Tensor, group: Tensor, *, beta: float
) -> Tensor:
    r"""Contrastive policy gradient loss of groups of completions.

    With R_b = R - beta * log(policy / ref), the loss of a group of K completions is

        1/(K-1) * sum over pairs (i, j) of (R_b(i) - R_b(j))**2 / (2 * beta)

    whose gradient is minus the estimator of Eq. 18, https://arxiv.org/abs/2406.19185, so completions
    may come from any sampler and need no importance weight. It is K / (2 * beta) times the sample variance
    of R_b, and is computed as such: no loop over pairs. Its gradient is minus the sum over the group of
    RLOO's (R_b(i) - mean of the others) * grad log policy(i), so a group weighs in proportion to its K;
    ``copg_mean_loss`` gives every prompt the same weight. A group of one completion has loss 0 and no
    gradient.

    Args:
        policy_logps: [N] under the policy being trained, nats.
        ref_logps: [N] under the frozen reference, nats.
        rewards: [N] in reward units.
        group: [N] index of the prompt each completion belongs to, 0..G-1, every one present.
        beta: KL strength, in reward units per nat; > 0.

    Returns:
        [G] one loss per group, not reduced.

    Raises:
        ValueError: shapes that differ, a group index missing, a beta that is not > 0.
    """
    sizes = check_completions(policy_logps, ref_logps, rewards, group, beta=beta)
    log_ratio = log_ratios(policy_logps, ref_logps)
    # Each is centred before they meet: a constant added to the rewards of a prompt, however large, then
    # costs the log-ratios none of their digits.
    spread = centre(widen(rewards), group, sizes).to(log_ratio.dtype)
    contrast = spread - beta * centre(log_ratio, group, sizes)
    # sum over pairs of (a_i - a_j)**2 = K * sum of (a_i - mean)**2
    pairs = sizes * group_sum(contrast**2, group, len(sizes))
    return pairs / (sizes - 1).clamp(min=1) / (2 * beta)


def copg_mean_loss(
    policy_logps: Tensor, ref_logps: Tensor, rewards: Tensor, group: Tensor, *, beta: float
) -> Tensor:
    """``copg_loss`` divided by K: every prompt has the same weight, however many completions it has.

    The value is Var(R_b) / (2 * beta), with the unbiased sample variance; the optimum is the same.
    """
    sizes = check_completions(policy_logps, ref_logps, rewards, group, beta=beta)
    return copg_loss(policy_logps, ref_logps, rewards, group, beta=beta) / sizes


LOSSES: dict[str, GroupLoss] = {
    "copg": copg_loss,
    "copg_mean": copg_mean_loss,
    "dpo": dpo_loss,
    "dpo_disjoint": partial(dpo_loss, pairs="disjoint"),
    "ipo": ipo_loss,
    "ipo_disjoint": partial(ipo_loss, pairs="disjoint"),
    "ipo_length_normalised": ipo_length_normalised_loss,
    "pg": pg_loss,
    "pg_regularised_value": pg_regularised_value_loss,
    "pg_value": pg_value_loss,
    "sft": sft_loss,
}
"""By the name a trial gives as its ``method``."""


def select_loss(method: str, num_tokens: Tensor) -> GroupLoss:
    """The loss called ``method``, given the completions' lengths if it is one that divides by them.

    Args:
        method: a key of ``LOSSES``.
        num_tokens: [N] completion tokens, the end-of-sequence token included.

    Raises:
        ValueError: when there is no such method.
    """
    if method not in LOSSES:
        raise ValueError(f"method={method!r} is unknown; use one of {sorted(LOSSES)}")
    if method == "ipo_length_normalised":
        return partial(ipo_length_normalised_loss, num_tokens=num_tokens)
    return LOSSES[method]
