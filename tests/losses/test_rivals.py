"""Rivals against values worked out by hand and their formulas written out, and which names there are."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from copg.losses import LOSSES, ORDER_ALONE, PUBLISHED_AS, VARIANTS, find_loss, load_loss
from copg.losses.astar_po import astar_po_loss
from copg.losses.copg import copg_loss
from copg.losses.dpo import dpo_loss
from copg.losses.groups import Completions
from copg.losses.qrpo import qrpo_loss
from copg.losses.rpo import rpo_loss
from tests.losses.test_losses import gradient, of, ragged, t
from tests.losses.test_published_as import BETA, members, pairs

# what a recipe may name

OF_0_1_0 = (
    *("copg", "copg_mean", "dpo", "dpo_disjoint", "ipo", "ipo_disjoint", "ipo_length_normalised"),
    *("pg", "pg_regularised_value", "pg_value", "sft"),
)


def test_every_name_of_0_1_0_is_still_a_loss_and_the_lists_leave_out_the_papers_variants() -> None:
    assert all(callable(load_loss(name)) for name in OF_0_1_0)
    assert {*OF_0_1_0} - {*LOSSES} == {*VARIANTS}
    with pytest.raises(ValueError, match="method='ipo_disjont' is unknown") as told:
        find_loss("ipo_disjont")
    assert not any(f"'{name}'" in str(told.value) for name in VARIANTS)


def test_what_stands_beside_the_losses_is_about_losses() -> None:
    assert {*ORDER_ALONE} <= {*LOSSES, *VARIANTS}
    assert not {*LOSSES, *VARIANTS} & {*PUBLISHED_AS}


@pytest.mark.parametrize("method", sorted({**LOSSES, **VARIANTS}))
def test_those_on_order_alone_are_those_whose_loss_sees_nothing_else_of_rewards(method: str) -> None:
    policy, ref, rewards, group = ragged()
    loss, lengths = load_loss(method), torch.ones_like(group)
    more = lengths, group, torch.zeros_like(ref), torch.full_like(ref, 0.5)
    plain = loss(Completions(policy, ref, rewards, *more), beta=BETA)
    same_order = loss(Completions(policy, ref, rewards.sinh(), *more), beta=BETA)  # and the same signs
    assert torch.equal(plain, same_order) == (method in ORDER_ALONE)


# A*-PO


def test_astar_po_of_one_pair_by_hand() -> None:
    # beta 1/2, R = 1, 0: V = log((exp(2) + 1) / 2) / 2 = .71686; d = 1, 0: left .5 - V, 0 - V; over 2 * .5
    loss = astar_po_loss(of(t(-2, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0])), beta=0.5)
    v = math.log((math.exp(2) + 1) / 2) / 2
    assert loss.tolist() == pytest.approx([(0.5 - v) ** 2 + v**2])


def test_astar_po_is_copg_and_the_distance_of_two_values() -> None:
    # sum of (R_b - V)**2 = sum of (R_b - mean)**2 + K (mean - V)**2
    policy, ref, rewards, group = ragged()
    contrast = copg_loss(of(policy, ref, rewards, group), beta=BETA)
    for g, own in enumerate(members(group)):
        regularised = (rewards - BETA * (policy - ref))[own]
        value = BETA * ((rewards[own] / BETA).exp().mean()).log()
        apart = len(own) * (regularised.mean() - value) ** 2 / (2 * BETA)
        found = astar_po_loss(of(policy, ref, rewards, group), beta=BETA)[g]
        torch.testing.assert_close(found, contrast[g] * (len(own) - 1) / len(own) + apart)


def test_with_the_exact_value_astar_po_is_zero_at_the_optimum_and_there_alone() -> None:
    # a group of all that a uniform reference can say: the mean of exp(R / beta) is Z itself
    rewards, ref, group = t(2.5, 2, 1, 0), torch.full((4,), -math.log(4), dtype=torch.float64), torch.zeros(4)
    best = ref + rewards / BETA - ((rewards / BETA).exp().mean()).log()
    assert float(best.exp().sum()) == pytest.approx(1)
    at = lambda policy: astar_po_loss(of(policy, ref, rewards, group.long()), beta=BETA)  # noqa: E731
    assert float(at(best)) == pytest.approx(0, abs=1e-20)
    assert float(gradient(at, best).abs().max()) < 1e-12
    # unlike CoPG it sees a shift of all log-ratios
    assert float(at(best - 1)) == pytest.approx(4 * BETA**2 / (2 * BETA))


def test_astar_po_ignores_a_constant_and_rewards_far_above_beta_stay_finite() -> None:
    policy, ref, rewards, group = ragged()
    shift = t(5, -3e6, 1, 1e9)[group]
    plain = astar_po_loss(of(policy, ref, rewards, group), beta=BETA)
    torch.testing.assert_close(
        astar_po_loss(of(policy, ref, rewards + shift, group), beta=BETA), plain, rtol=1e-5, atol=1e-6
    )
    assert astar_po_loss(of(policy, ref, 1e6 * rewards, group), beta=1e-3).isfinite().all()


@pytest.mark.parametrize("s", [0.25, 10.0])
def test_scaling_rewards_and_beta_alike_scales_astar_po(s: float) -> None:
    policy, ref, rewards, group = ragged()
    scaled = astar_po_loss(of(policy, ref, s * rewards, group), beta=s * BETA)
    torch.testing.assert_close(scaled, s * astar_po_loss(of(policy, ref, rewards, group), beta=BETA))


# RPO


def test_rpo_of_one_pair_by_hand() -> None:
    # dR = log 3: label 3/4; beta * delta = 0: 1/2. KL = 3/4 log(3/2) + 1/4 log(1/2) = .13081
    args = t(-3, -3), t(-3, -3), t(math.log(3), 0), torch.tensor([0, 0])
    assert rpo_loss(of(*args), beta=1.0).tolist() == pytest.approx([0.13081], abs=1e-5)
    # its gradient is beta (sigmoid(beta * delta) - label) = 1/2 - 3/4 of the first, minus that of the other
    found = gradient(lambda p: rpo_loss(of(p, *args[1:]), beta=1.0), args[0])
    assert found.tolist() == pytest.approx([-0.25, 0.25])


def test_rpo_is_the_kl_between_labels_over_all_pairs() -> None:
    # as NeMo-Aligner's rpo_bwd_kl has it for one pair, a tie among the pairs of the last group
    policy, ref, rewards, group = ragged()
    rewards[members(group)[3][0]] = rewards[members(group)[3][1]]
    d = policy - ref
    found = rpo_loss(of(policy, ref, rewards, group), beta=BETA)
    for g, own in enumerate(members(group)):
        total = 0.0
        for i, j in pairs(own):
            for sign in (1, -1):
                a, b = sign * (rewards[i] - rewards[j]), sign * BETA * (d[i] - d[j])
                total += float(logsigmoid(a).exp() * (logsigmoid(a) - logsigmoid(b)))
        assert float(found[g]) == pytest.approx(total / max(len(own) - 1, 1), abs=1e-12)


def test_rpo_has_the_optimum_of_copg_and_the_same_blind_spots() -> None:
    policy, ref, rewards, group = ragged()
    best = ref + rewards / BETA
    torch.testing.assert_close(
        rpo_loss(of(best, ref, rewards, group), beta=BETA), t(0, 0, 0, 0), atol=1e-12, rtol=0
    )
    assert gradient(lambda p: rpo_loss(of(p, ref, rewards, group), beta=BETA), best).abs().max() < 1e-12
    plain, shift = rpo_loss(of(policy, ref, rewards, group), beta=BETA), t(5, -3, 1, 100)[group]
    torch.testing.assert_close(rpo_loss(of(policy, ref, rewards + shift, group), beta=BETA), plain)
    torch.testing.assert_close(rpo_loss(of(policy + shift, ref, rewards, group), beta=BETA), plain)


def test_where_every_difference_is_clear_rpo_is_dpo() -> None:
    policy, ref, rewards, group = ragged()
    clear = of(policy, ref, 1e4 * rewards, group)
    torch.testing.assert_close(rpo_loss(clear, beta=BETA), dpo_loss(clear, beta=BETA))


# QRPO


def test_qrpo_of_three_completions_by_hand() -> None:
    # q: of the two others 2, 1 (the tie with the last counts) and 1 have at most as much: 1, 1/2, 1/2
    # beta 1: log Z = log(e - 1) = .54132; d = 1, 0, 0: left 1 - .54132 - 1, .5 - .54132 twice; over 2
    z = math.log(math.e - 1)
    loss = qrpo_loss(of(t(-2, -3, -3), t(-3, -3, -3), t(9, 4, 4), torch.tensor([0, 0, 0])), beta=1.0)
    assert loss.tolist() == pytest.approx([(z**2 + 2 * (0.5 - z) ** 2) / 2])


@pytest.mark.parametrize("beta", [0.003, 0.1, 1.0, 1e3])
def test_the_normaliser_of_qrpo_is_that_of_a_uniform_quantile(beta: float) -> None:
    # a group of one beside another with d = 0 and q = 0: left = -beta * log Z
    args = t(0, 0), t(0, 0), t(0, 1), torch.tensor([0, 0])
    low, _ = gradient(lambda p: qrpo_loss(of(p, *args[1:]), beta=beta), args[0]).tolist()
    grid = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    log_z = beta * float(((grid - 1) / beta).exp().mean().log()) + 1
    assert low == pytest.approx(log_z, rel=1e-5)  # d/dd of left**2 / (2 beta) is -left


def test_the_quantile_of_qrpo_has_no_bias_at_any_number_of_completions() -> None:
    # three equally likely outcomes of rewards 0, 1, 2: quantiles 1/3, 2/3, 1
    for k in (2, 3, 4):
        met: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for drawn in itertools.product(range(3), repeat=k):
            zero = torch.zeros(k, dtype=torch.float64)
            batch = of(zero, zero, t(*drawn), torch.zeros(k, dtype=torch.int64))
            pull = gradient(lambda p, b=batch: qrpo_loss(b._replace(policy_logps=p), beta=1.0), zero)
            met[drawn[0]].append(math.log(math.e - 1) - float(pull[0]))  # left is q - log Z at d = 0
        assert [sum(each) / len(each) for each in met.values()] == pytest.approx([1 / 3, 2 / 3, 1])


def test_qrpo_sees_the_order_of_rewards_alone() -> None:
    policy, ref, rewards, group = ragged()
    plain = qrpo_loss(of(policy, ref, rewards, group), beta=BETA)
    torch.testing.assert_close(qrpo_loss(of(policy, ref, rewards.exp() * 7 - 3, group), beta=BETA), plain)
    assert (qrpo_loss(of(policy, ref, -rewards, group), beta=BETA) - plain).abs().max() > 0.1


@pytest.mark.parametrize("method", ["astar_po", "qrpo", "rpo"])
def test_a_beta_that_is_not_above_zero_is_refused_in_one_line(method: str) -> None:
    with pytest.raises(ValueError, match=r"^beta=0 must be > 0: [^\n]*$"):
        load_loss(method)(Completions(*ragged()[:3], t(*[1.0] * 11), ragged()[3]), beta=0)
