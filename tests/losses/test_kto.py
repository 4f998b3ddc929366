"""KTO against values worked out by hand and its paper's formula, with what its reference point stands for."""

import math

import pytest
import torch

from copg.losses.groups import Completions
from copg.losses.kto import kto_loss
from tests.losses.test_losses import gradient, of, ragged, t
from tests.losses.test_published_as import BETA, members


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_kto_of_one_pair_by_hand() -> None:
    # d = log 3, 0: weights 3/4, 1/4, z = .75 log 3; the better lies .25 log 3 above it, the worse .75 log 3
    # below; beta 4: sigmoid(-log 3) = 1/4 and sigmoid(-3 log 3) = 1/28
    loss = kto_loss(of(t(math.log(3) - 3, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0])), beta=4.0)
    assert loss.tolist() == pytest.approx([1 / 4 + 1 / 28])


@pytest.mark.parametrize("up", [(1, 1, 0, 0, 0), (0, 1, 0, 0, 0), (1, 1, 1, 1, 0)])
def test_with_thumbs_it_is_the_papers_loss_with_the_reference_point_of_its_own_draws(up) -> None:
    policy, ref, _, _ = ragged((5,))
    d = (policy - ref).tolist()
    weights = [math.exp(x - max(d)) for x in d]
    z = max(0.0, sum(w * x for w, x in zip(weights, d, strict=True)) / sum(weights))
    # Eq. 8, both lambdas 1: 1 - value, a thumb up worth sigmoid(beta (d - z)), one down sigmoid(beta (z - d))
    values = [
        sigmoid(BETA * (x - z)) if thumb else sigmoid(BETA * (z - x)) for x, thumb in zip(d, up, strict=True)
    ]
    args = ref, t(*up), torch.zeros(5, dtype=torch.long)
    assert float(kto_loss(of(policy, *args), beta=BETA)[0]) == pytest.approx(sum(1 - v for v in values))
    # no gradient through z: that of sigmoid is value (1 - value), towards thumbs up and away from those down
    found = gradient(lambda p: kto_loss(of(p, *args), beta=BETA), policy)
    signs = [-1 if thumb else 1 for thumb in up]
    expected = [s * BETA * v * (1 - v) for s, v in zip(signs, values, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def test_its_reference_point_is_the_kl_of_the_policy_where_a_group_is_all_that_the_reference_says() -> None:
    # four completions, each 1/4 under the reference; the better one lies at the KL and is worth half a point
    policy = t(0.4, 0.3, 0.2, 0.1)
    kl = sum(p * math.log(4 * p) for p in policy.tolist())
    ref = torch.full((4,), math.log(0.25), dtype=torch.float64)
    loss = kto_loss(of(policy.log(), ref, t(1, 0, 0, 0), torch.zeros(4).long()), beta=1.0)
    d = (policy.log() - ref).tolist()
    assert float(loss[0]) == pytest.approx(sigmoid(kl - d[0]) + sum(sigmoid(x - kl) for x in d[1:]))


def test_a_policy_that_fell_on_all_it_drew_has_a_reference_point_of_0() -> None:
    # d = -1, -2: their mean is below 0, which no KL is: sigmoid(1) + sigmoid(-2)
    loss = kto_loss(of(t(-4, -5), t(-3, -3), t(1, 0), torch.tensor([0, 0])), beta=1.0)
    assert loss.tolist() == pytest.approx([sigmoid(1) + sigmoid(-2)])


def test_what_beats_as_many_as_beat_it_counts_not_and_a_tied_group_has_no_gradient() -> None:
    policy, ref = t(-1, -2, -3, -4, -5, -9), t(-2, -2, -2, -2, -2, -2)
    rewards, group = t(5, 3, 1, 7, 7, 2), torch.tensor([0, 0, 0, 1, 1, 2])
    found = gradient(lambda p: kto_loss(of(p, ref, rewards, group), beta=BETA), policy)
    assert found[0] < 0 < found[2]
    assert found[[1, 3, 4, 5]].tolist() == [0, 0, 0, 0]
    assert kto_loss(of(policy, ref, rewards, group), beta=BETA)[1:].tolist() == [0, 0]


def test_groups_do_not_see_one_another() -> None:
    policy, ref, rewards, group = ragged()
    found = kto_loss(Completions(policy, ref, rewards, torch.ones_like(group), group), beta=BETA)
    for g, own in enumerate(members(group)):
        alone = of(policy[own], ref[own], rewards[own], torch.zeros(len(own), dtype=torch.long))
        assert float(kto_loss(alone, beta=BETA)[0]) == pytest.approx(float(found[g]))
