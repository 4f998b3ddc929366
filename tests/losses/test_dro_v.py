"""DRO-V against values worked out by hand, its paper's gradients, and CoPG where values are exact."""

import math

import pytest
import torch
from torch import Tensor

from copg.losses.copg import copg_loss
from copg.losses.diagnostics import value_error_fraction
from copg.losses.dro_v import dro_v_loss
from copg.losses.groups import Completions
from tests.losses.test_losses import gradient, of, ragged, t
from tests.losses.test_published_as import BETA, members


def valued(batch: Completions, values: Tensor) -> Completions:
    """With one value a prompt."""
    return batch._replace(values=values[batch.group])


def exact_values(batch: Completions) -> Tensor:
    """[G] least squares of V - R_b by a solver, no mean taken."""
    left = (batch.rewards - BETA * (batch.policy_logps - batch.ref_logps)).detach()
    design = torch.nn.functional.one_hot(batch.group.long()).to(left.dtype)
    return torch.linalg.lstsq(design, left[:, None]).solution[:, 0]


def test_dro_v_of_one_pair_by_hand() -> None:
    # beta 1/2, R_b = 1 - .5 * 1, 0 - .5 * 0 = .5, 0; V = .2: .3**2 + .2**2 = .13, over 2 * .5
    batch = of(t(-2, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0]))
    assert dro_v_loss(valued(batch, t(0.2)), beta=0.5).tolist() == pytest.approx([0.13])


def test_its_gradients_are_the_papers() -> None:
    policy, ref, rewards, group = ragged()
    values = torch.linspace(-1, 1, int(group.max()) + 1, dtype=torch.float64)
    of_policy = gradient(lambda p: dro_v_loss(valued(of(p, ref, rewards, group), values), beta=BETA), policy)
    of_values = gradient(
        lambda v: dro_v_loss(valued(of(policy, ref, rewards, group), v), beta=BETA), values
    ).tolist()
    for i, g in enumerate(group.tolist()):
        # ascent along (R - V) * grad log pi - beta / 2 * grad d**2, whose last part is beta * d * grad log pi
        d = float(policy[i] - ref[i])
        ascent = float(rewards[i] - values[g]) - BETA / 2 * (2 * d)
        assert -float(of_policy[i]) == pytest.approx(ascent)
    for g, own in enumerate(members(group)):
        # descent along (V - R + beta * d) * grad V, here over beta
        slopes = [float(values[g] - rewards[i] + BETA * (policy[i] - ref[i])) for i in own]
        assert of_values[g] == pytest.approx(sum(slopes) / BETA)


def test_with_a_scalar_a_prompt_at_its_best_it_is_copg_itself() -> None:
    policy, ref, rewards, group = ragged((2, 3, 1, 5))
    batch = of(policy, ref, rewards, group)
    values = exact_values(batch)
    k = t(2, 3, 1, 5)
    expected = (k - 1) / k * copg_loss(batch, beta=BETA)
    torch.testing.assert_close(dro_v_loss(valued(batch, values), beta=BETA), expected)
    theirs = gradient(lambda p: dro_v_loss(valued(of(p, ref, rewards, group), values), beta=BETA), policy)
    ours = gradient(lambda p: (k - 1) / k * copg_loss(of(p, ref, rewards, group), beta=BETA), policy)
    torch.testing.assert_close(theirs, ours)
    # any other value is a worse loss and another gradient
    moved = dro_v_loss(valued(batch, values + 0.1), beta=BETA)
    torch.testing.assert_close(moved - expected, k * 0.1**2 / (2 * BETA))
    other = gradient(
        lambda p: dro_v_loss(valued(of(p, ref, rewards, group), values + 0.1), beta=BETA), policy
    )
    assert (other - ours).abs().min() > 0.05


def test_its_optimum_is_copgs_with_v_at_beta_log_z() -> None:
    # three texts, every one logged: pi* = ref * exp(R / beta) / Z leaves nothing at V = beta * log Z
    ref, rewards, group = t(0.5, 0.3, 0.2).log(), t(1, 0, 2), torch.zeros(3, dtype=torch.int64)
    log_z = float((ref + rewards / BETA).logsumexp(0))
    best = ref + rewards / BETA - log_z
    batch = valued(of(best, ref, rewards, group), t(BETA * log_z))
    assert float(dro_v_loss(batch, beta=BETA)) == pytest.approx(0, abs=1e-24)
    assert float(exact_values(batch)) == pytest.approx(BETA * log_z)


def test_a_completion_by_itself_is_held_against_the_value_of_its_prompt() -> None:
    # R = 1, V = .4, d = 0: the gradient by its log-probability is -(1 - .4); by CoPG there is none
    args = t(-3), t(1), torch.tensor([0])
    found = gradient(lambda p: dro_v_loss(valued(of(p, *args), t(0.4)), beta=BETA), t(-3))
    assert found.tolist() == pytest.approx([-0.6])
    assert gradient(lambda p: copg_loss(of(p, *args), beta=BETA), t(-3)).tolist() == [0]


def test_the_error_of_values_is_1_at_0_and_0_where_they_are_exact() -> None:
    batch = of(*ragged())
    values = exact_values(batch)
    for share, left in ((0.0, 1.0), (0.5, 0.25), (1.0, 0.0), (2.0, 1.0)):
        found = float(value_error_fraction(valued(batch, share * values), beta=BETA))
        assert found == pytest.approx(left, abs=1e-12)
    zero = of(t(-1, -1), t(-1, -1), t(1, -1), torch.tensor([0, 0]))
    assert math.isnan(float(value_error_fraction(zero, beta=BETA)))


def test_values_that_are_missing_or_of_another_shape_are_told() -> None:
    batch = of(*ragged())
    with pytest.raises(ValueError, match="values are missing: dro_v learns the value of each prompt"):
        dro_v_loss(batch._replace(values=None), beta=BETA)
    with pytest.raises(ValueError, match=r"one value a completion; found .* values \(4,\)"):
        dro_v_loss(batch._replace(values=torch.zeros(4)), beta=BETA)
