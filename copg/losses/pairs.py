"""Preference pairs out of groups whose completions are ranked by reward."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Pairing = Literal["all", "disjoint"]
"""``all``: every pair of a group. ``disjoint``: the best with the worst, the second best with the second
worst, and so on; the middle one of an odd group is left out."""


class Pairs(NamedTuple):
    """Preference pairs over a flat batch of N completions."""

    winner: Tensor
    """[P] index of the completion with the higher reward."""
    loser: Tensor
    """[P] index of the completion with the lower reward."""
    weight: Tensor
    """[P] 1/(K-1) for all pairs, 1 for disjoint ones: either way a group without ties weighs about K/2."""


def preference_pairs(rewards: Tensor, group: Tensor, sizes: Tensor, pairing: Pairing) -> Pairs:
    """Pairs of unequal reward; a tie says nothing about preference and gives none.

    Args:
        rewards: [N] in reward units.
        group: [N] index of the prompt.
        sizes: [G] completions of each prompt.
        pairing: which pairs of a group.

    Raises:
        ValueError: when ``pairing`` is neither.
    """
    if pairing == "all":
        wins = (group[:, None] == group[None, :]) & (rewards[:, None] > rewards[None, :])
        winner, loser = wins.nonzero(as_tuple=True)
        weight = 1 / (sizes[group[winner]] - 1)
    elif pairing == "disjoint":
        winner, loser = _opposites(rewards, group, sizes)
        weight = torch.ones(len(winner), device=rewards.device)
    else:
        raise ValueError(f"pairs={pairing!r} is unknown; use 'all' or 'disjoint'")
    return Pairs(winner, loser, weight)


def _opposites(rewards: Tensor, group: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Winner and loser of each rank from the top paired with the same rank from the bottom."""
    by_reward = rewards.argsort(stable=True)
    order = by_reward[group[by_reward].argsort(stable=True)]
    ends = sizes.cumsum(0)
    size = sizes.repeat_interleave(sizes)
    start = (ends - sizes).repeat_interleave(sizes)
    rank = torch.arange(len(order), device=order.device) - start
    lower = rank < size // 2
    loser = order[lower]
    winner = order[(start + size - 1 - rank)[lower]]
    unequal = rewards[winner] > rewards[loser]
    return winner[unequal], loser[unequal]
