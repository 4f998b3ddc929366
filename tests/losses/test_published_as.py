"""What others publish under another name, as their papers write it, against what it is called here."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from copg.losses import LOSSES, PUBLISHED_AS, find_loss, load_loss
from copg.losses.copg import copg_loss
from tests.losses.test_losses import gradient, of, ragged

BETA = 0.3


def members(group: Tensor) -> list[list[int]]:
    return [(group == g).nonzero().flatten().tolist() for g in range(int(group.max()) + 1)]


def pairs(places: list[int]) -> list[tuple[int, int]]:
    return list(itertools.combinations(places, 2))


Formula = Callable[[Tensor, Tensor, list[int]], Tensor]
"""From [N] log-ratios, [N] rewards and the places of a group's completions to its loss."""


def gvpo(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """Weights that are held constant, on the log-probabilities: 2504.19599."""
    weights = (rewards[own] - rewards[own].mean()) - BETA * (d[own] - d[own].mean())
    return -BETA * (weights.detach() * d[own]).sum()


def vargrad(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """The variance of the log of policy over target."""
    return (d[own] - rewards[own] / BETA).var()


def tba(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """Trajectory balance with the batch's estimate of log Z, held constant: 2503.18929."""
    log_z = (rewards[own] / BETA - d[own]).mean().detach()
    return ((log_z + d[own] - rewards[own] / BETA) ** 2).mean()


def agro(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """Half the variance of the regularised reward, of any generations: 2503.19612."""
    return 0.5 * (rewards[own] - BETA * d[own]).var(correction=0)


def rebel(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """Every pair, with the previous policy the reference, as it is in the first round: 2404.16767."""
    every = [((d[i] - d[j]) - (rewards[i] - rewards[j]) / BETA) ** 2 for i, j in pairs(own)]
    return torch.stack(every).sum()


def oapl(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """Squares of the optimal advantage less the log-ratio, V by the group itself: 2602.19362."""
    value = BETA * ((rewards[own] / BETA).logsumexp(0) - math.log(len(own)))
    return ((rewards[own] - value - BETA * d[own]) ** 2).sum()


def soft_dpo(d: Tensor, rewards: Tensor, own: list[int]) -> Tensor:
    """DPO's cross-entropy, with the probability of Bradley and Terry as the label."""
    every = []
    for i, j in pairs(own):
        wins = 1 / (1 + math.exp(float(rewards[j] - rewards[i])))
        margin = BETA * (d[i] - d[j])
        every.append(-wins * logsigmoid(margin) - (1 - wins) * logsigmoid(-margin))
    return torch.stack(every).sum()


SAME: dict[str, tuple[Formula, Callable[[int], float]]] = {
    # its gradient is this times that of ours, of K completions
    "gvpo": (gvpo, lambda k: BETA * (k - 1) / k),
    "vargrad": (vargrad, lambda k: 2 / (BETA * k)),
    "tba": (tba, lambda k: 2 * (k - 1) / (BETA * k**2)),
    "agro": (agro, lambda k: BETA * (k - 1) / k**2),
    "rebel": (rebel, lambda k: 2 * (k - 1) / BETA),
    "oapl": (oapl, lambda k: 2 * BETA),
    "soft_dpo": (soft_dpo, lambda k: k - 1),
}


@pytest.mark.parametrize("name", PUBLISHED_AS)
def test_what_others_call_otherwise_is_ours_up_to_a_factor(name: str) -> None:
    formula, factor = SAME[name]
    policy, ref, rewards, group = ragged((2, 3, 5))
    ours = gradient(lambda p: load_loss(PUBLISHED_AS[name])(of(p, ref, rewards, group), beta=BETA), policy)
    for own in members(group):
        theirs = gradient(lambda p, own=own: formula(p - ref, rewards, own), policy)
        torch.testing.assert_close(theirs[own], factor(len(own)) * ours[own], rtol=1e-9, atol=1e-12)


def test_rebel_is_another_loss_once_the_previous_policy_is_not_the_reference() -> None:
    policy, ref, rewards, group = ragged((2, 3))
    ours = gradient(lambda p: copg_loss(of(p, ref, rewards, group), beta=BETA), policy)
    before = ref + torch.linspace(-1, 1, len(ref))
    own = members(group)[1]
    theirs = gradient(lambda p: rebel(p - before, rewards, own), policy)
    assert (theirs[own] - SAME["rebel"][1](3) * ours[own]).abs().max() > 0.1


@pytest.mark.parametrize("name", sorted({*PUBLISHED_AS}))
def test_a_trial_that_names_it_otherwise_is_told_what_it_is_called_here(name: str) -> None:
    assert PUBLISHED_AS[name] in LOSSES
    with pytest.raises(ValueError, match=rf"method='{name}' is unknown; .*it is '{PUBLISHED_AS[name]}' here"):
        find_loss(name)
