"""KTO against values worked out by hand and its paper's formula, with the sides that rewards are on."""

import math

import pytest
import torch
from torch import Tensor

from copg.losses.groups import Completions
from copg.losses.kto import kto_loss
from tests.losses.test_losses import gradient, of, ragged, t
from tests.losses.test_published_as import BETA, members


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def at(z: float, batch: Completions) -> Completions:
    return batch._replace(reference_point=torch.full_like(batch.ref_logps, z))


def test_kto_of_one_pair_by_hand() -> None:
    # d = log 3, 0, z = .75 log 3: the better lies .25 log 3 above it, the worse .75 log 3 below; beta 4:
    # sigmoid(-log 3) = 1/4 and sigmoid(-3 log 3) = 1/28
    batch = of(t(math.log(3) - 3, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0]))
    assert kto_loss(at(0.75 * math.log(3), batch), beta=4.0).tolist() == pytest.approx([1 / 4 + 1 / 28])


def test_single_completions_have_the_side_of_their_reward() -> None:
    # d = 1, 1, 1, z = 1/2: up sigmoid(-BETA / 2), down sigmoid(BETA / 2), and neither nor
    batch = at(0.5, of(t(-1, -1, -1), t(-2, -2, -2), t(0.3, -2, 0), torch.arange(3)))
    assert kto_loss(batch, beta=BETA).tolist() == pytest.approx([sigmoid(-BETA / 2), sigmoid(BETA / 2), 0])
    found = gradient(lambda p: kto_loss(batch._replace(policy_logps=p), beta=BETA), batch.policy_logps)
    assert found[0] < 0 < found[1]
    assert found[2] == 0


@pytest.mark.parametrize("up", [(1, 1, 0, 0, 0), (0, 1, 0, 0, 0), (1, 1, 1, 1, 1), (0, 0, 0, 0, 0)])
@pytest.mark.parametrize("sizes", [(5,), (1, 1, 1, 1, 1), (2, 3)])
def test_with_thumbs_it_is_the_papers_loss_however_completions_are_grouped(up, sizes) -> None:
    policy, ref, _, group = ragged(sizes)
    d, z = (policy - ref).tolist(), 0.7
    # Eq. 8, both lambdas 1: 1 - value, a thumb up worth sigmoid(beta (d - z)), one down sigmoid(beta (z - d))
    values = [
        sigmoid(BETA * (x - z)) if thumb else sigmoid(BETA * (z - x)) for x, thumb in zip(d, up, strict=True)
    ]
    rewards = t(*up) - 0.4  # thumbs, 40 % of which are up elsewhere
    loss = lambda p: kto_loss(at(z, of(p, ref, rewards, group)), beta=BETA)  # noqa: E731
    assert float(loss(policy).sum()) == pytest.approx(sum(1 - v for v in values))
    signs = [-1 if thumb else 1 for thumb in up]
    expected = [s * BETA * v * (1 - v) for s, v in zip(signs, values, strict=True)]
    assert gradient(loss, policy).tolist() == pytest.approx(expected)


def test_no_gradient_goes_through_the_reference_point() -> None:
    policy, ref, rewards, group = ragged()
    batch = of(policy, ref, rewards, group)
    z = float((policy - ref).mean().clamp(min=0.1))

    def loss(p: Tensor) -> Tensor:
        return kto_loss(
            batch._replace(policy_logps=p, reference_point=z + (p - policy).mean() + 0 * p), beta=1
        )

    plain = gradient(lambda p: kto_loss(at(z, of(p, ref, rewards, group)), beta=1.0), policy)
    torch.testing.assert_close(gradient(loss, policy), plain)


def test_what_beats_as_many_as_beat_it_counts_not_and_a_tied_group_has_one_side() -> None:
    policy, ref = t(-1, -2, -3, -4, -5, -9), t(-2, -2, -2, -2, -2, -2)
    rewards, group = t(5, 3, 1, 7, 7, -2), torch.tensor([0, 0, 0, 1, 1, 2])
    found = gradient(lambda p: kto_loss(of(p, ref, rewards, group), beta=BETA), policy)
    assert found[0] < 0 < found[2]
    assert found[1] == 0
    assert (found[3:5] < 0).all()
    assert found[5] > 0


def test_groups_do_not_see_one_another() -> None:
    policy, ref, rewards, group = ragged()
    found = kto_loss(at(0.3, of(policy, ref, rewards, group)), beta=BETA)
    for g, own in enumerate(members(group)):
        alone = of(policy[own], ref[own], rewards[own], torch.zeros(len(own), dtype=torch.long))
        assert float(kto_loss(at(0.3, alone), beta=BETA)[0]) == pytest.approx(float(found[g]))


def test_a_reference_point_that_is_missing_is_told() -> None:
    batch = of(*ragged())._replace(reference_point=None)
    with pytest.raises(
        ValueError, match="reference_point is missing: kto compares with completions of other"
    ):
        kto_loss(batch, beta=BETA)
