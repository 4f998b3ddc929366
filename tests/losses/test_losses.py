"""Losses against values worked out by hand, the paper's equations, and each other."""

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from copg.losses import LOSSES, VARIANTS, load_loss
from copg.losses.copg import copg_loss, copg_mean_loss
from copg.losses.diagnostics import extreme_log_ratios, residual_fraction, reward_spread, tied_groups
from copg.losses.dpo import dpo_loss
from copg.losses.groups import Completions, centre_rewards, group_sizes
from copg.losses.ipo import ipo_length_normalised_loss, ipo_loss
from copg.losses.pairs import preference_pairs
from copg.losses.pg import pg_loss, pg_regularised_value_loss, pg_value_loss
from copg.losses.sft import sft_loss

EVERY = sorted({**LOSSES, **VARIANTS})


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of(
    policy: Tensor, ref: Tensor, rewards: Tensor, group: Tensor, num_tokens: Tensor | None = None
) -> Completions:
    """Completions of one token each, unless said otherwise, of prompts whose values begin at 0."""
    lengths = torch.ones_like(group) if num_tokens is None else num_tokens
    zeros = torch.zeros_like(ref)
    return Completions(policy, ref, rewards, lengths, group, values=zeros, reference_point=zeros)


def ragged(sizes: tuple[int, ...] = (2, 3, 1, 5), seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Groups of several sizes, their completions in shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    policy, ref = -10 * torch.rand(2, n, generator=generator, dtype=torch.float64)
    rewards = torch.randn(n, generator=generator, dtype=torch.float64)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return policy, ref, rewards, group[torch.randperm(n, generator=generator)]


def gradient(loss: Callable[[Tensor], Tensor], policy: Tensor) -> Tensor:
    policy = policy.clone().requires_grad_()
    loss(policy).sum().backward()
    assert policy.grad is not None
    return policy.grad


def objective(d: Tensor, rewards: Tensor, i: int, j: int, beta: float) -> Tensor:
    """Eq. 7-9: the sample objective of one pair, to be maximised, with beta/2 inside."""
    r_i, r_j = rewards[i] - beta / 2 * d[i], rewards[j] - beta / 2 * d[j]
    return (r_i - r_j) * d[i] + (r_j - r_i) * d[j]


# copg_loss


def test_copg_of_one_pair_by_hand() -> None:
    # R_b(y)  = 1 - 0.5 * (-2 - -3) = 0.5
    # R_b(y') = 0 - 0.5 * (-3 - -3) = 0.0    loss = 0.5**2 / (2 * 0.5) = 0.25
    loss = copg_loss(of(t(-2, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0])), beta=0.5)
    assert loss.tolist() == [0.25]


def test_copg_of_three_completions_by_hand() -> None:
    # beta 1, R_b = 3 - 1, 1 - 0, 0 - 0 = 2, 1, 0: pairs 1, 4, 1; 6 / (3-1) / (2 * 1) = 1.5
    # gradient: -(R_b(i) - mean of the others) = -(2 - .5), -(1 - 1), -(0 - 1.5)
    args = t(-4, -5, -6), t(3, 1, 0), torch.tensor([0, 0, 0])
    assert copg_loss(of(t(-3, -5, -6), *args), beta=1.0).tolist() == [1.5]
    found = gradient(lambda p: copg_loss(of(p, *args), beta=1.0), t(-3, -5, -6))
    assert found.tolist() == pytest.approx([-1.5, 0, 1.5], abs=1e-15)


def test_copg_mean_divides_by_the_number_of_completions() -> None:
    # the same three completions: 1.5 / 3
    args = t(-3, -5, -6), t(-4, -5, -6), t(3, 1, 0), torch.tensor([0, 0, 0])
    assert copg_mean_loss(of(*args), beta=1.0).tolist() == [0.5]


def test_copg_is_the_sum_over_pairs_for_groups_of_any_size() -> None:
    policy, ref, rewards, group = ragged()
    scores = rewards - 0.3 * (policy - ref)
    for g, loss in enumerate(copg_loss(of(policy, ref, rewards, group), beta=0.3)):
        members = (group == g).nonzero().flatten().tolist()
        pairs = sum((scores[i] - scores[j]) ** 2 for i, j in itertools.combinations(members, 2))
        expected = pairs / max(len(members) - 1, 1) / (2 * 0.3)
        assert float(loss) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("beta", [0.03, 1.0, 4.0])
@pytest.mark.parametrize("sizes", [(2,), (2, 3, 1, 5)])
def test_copg_has_minus_the_gradient_of_the_papers_objective(sizes: tuple[int, ...], beta: float) -> None:
    policy, ref, rewards, group = ragged(sizes)

    def papers(p: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64) * p.sum()
        for g in range(len(sizes)):
            members = (group == g).nonzero().flatten().tolist()
            for i, j in itertools.combinations(members, 2):
                total = total - objective(p - ref, rewards, i, j, beta) / (len(members) - 1)
        return total

    ours = gradient(lambda p: copg_loss(of(p, ref, rewards, group), beta=beta), policy)
    torch.testing.assert_close(ours, gradient(papers, policy), rtol=1e-12, atol=1e-12)


def test_the_papers_objective_is_a_square_less_a_constant() -> None:
    # beta * l = 1/2 dR**2 - 1/2 (dR - beta * dd)**2, so loss + l = dR**2 / (2 beta)
    policy, ref, rewards, group = ragged((2,))
    loss = copg_loss(of(policy, ref, rewards, group), beta=0.3)
    l_pair = objective(policy - ref, rewards, 0, 1, 0.3)
    assert float(loss + l_pair) == pytest.approx(float((rewards[0] - rewards[1]) ** 2 / 0.6), rel=1e-12)


def test_copg_gradient_is_minus_the_sum_of_leave_one_out_policy_gradients() -> None:
    # K times the sample variance has the gradient -2 beta * sum of RLOO's; over 2 beta: minus the sum.
    policy, ref, rewards, group = ragged((4, 7))
    scores = rewards - 0.2 * (policy - ref)
    rloo = torch.empty_like(scores)
    for i, g in enumerate(group.tolist()):
        others = (group == g) & (torch.arange(len(group)) != i)
        rloo[i] = scores[i] - scores[others].mean()
    ours = gradient(lambda p: copg_loss(of(p, ref, rewards, group), beta=0.2), policy)
    torch.testing.assert_close(ours, -rloo)


def test_copg_ignores_a_constant_added_to_the_rewards_of_a_prompt() -> None:
    policy, ref, rewards, group = ragged()
    shift = t(5, -3, 1, 100)[group]
    before = copg_loss(of(policy, ref, rewards, group), beta=0.1)
    torch.testing.assert_close(copg_loss(of(policy, ref, rewards + shift, group), beta=0.1), before)
    torch.testing.assert_close(copg_loss(of(policy + shift, ref, rewards, group), beta=0.1), before)


def test_a_large_constant_costs_the_log_ratios_no_digits_in_float32() -> None:
    # rewards 2**20 + {0, 1} are exact in float32, where 2**20 + .1 is not: log-ratios must not meet them
    policy, ref = torch.tensor([-0.01, -0.02]), torch.tensor([0.0, 0.0])
    rewards, group = torch.tensor([0.0, 1.0]), torch.tensor([0, 0])
    plain = copg_loss(of(policy, ref, rewards, group), beta=1.0)
    torch.testing.assert_close(copg_loss(of(policy, ref, rewards + 2**20, group), beta=1.0), plain)


@pytest.mark.parametrize("s", [0.25, 10.0])
def test_scaling_rewards_is_dividing_beta(s: float) -> None:
    # (s R - beta d)**2 / (2 beta) = s * (R - beta/s d)**2 / (2 beta / s)
    policy, ref, rewards, group = ragged()
    scaled = copg_loss(of(policy, ref, s * rewards, group), beta=0.4)
    torch.testing.assert_close(scaled, s * copg_loss(of(policy, ref, rewards, group), beta=0.4 / s))


def test_the_optimum_of_copg_is_the_reference_tilted_by_the_reward() -> None:
    # log pi* = log ref + R / beta - log Z: every R_b of a prompt is equal, loss and gradient are 0
    _, ref, rewards, group = ragged()
    best = ref + rewards / 0.5 - t(1, 2, 3, 4)[group]
    torch.testing.assert_close(
        copg_loss(of(best, ref, rewards, group), beta=0.5), t(0, 0, 0, 0), atol=1e-24, rtol=0
    )


def test_a_group_of_one_has_no_loss_and_no_gradient() -> None:
    # the other group: (1 - 0)**2 / 2
    args = t(-4, -5, -6), t(7, 1, 0), torch.tensor([0, 1, 1])
    assert copg_loss(of(t(-3, -5, -6), *args), beta=1.0).tolist() == [0.0, 0.5]
    assert gradient(lambda p: copg_loss(of(p, *args), beta=1.0), t(-3, -5, -6))[0] == 0


def test_bfloat16_log_probabilities_are_summed_in_float32() -> None:
    policy = torch.tensor([-300.0, -302.0], dtype=torch.bfloat16)
    loss = copg_loss(
        of(policy, torch.tensor([-300.5, -302.0]), t(1, 0).float(), torch.tensor([0, 0])), beta=0.5
    )
    # dR = 1, dd = .5: (1 - .25)**2 / 1
    assert (loss.dtype, loss.tolist()) == (torch.float32, [0.5625])


# the other methods


def test_ipo_of_one_pair_by_hand() -> None:
    # winner second: delta = (-3 - -3) - (-2 - -3) = -1; (1/2 + .5)**2 / (2 * .5) = 1
    assert ipo_loss(of(t(-2, -3), t(-3, -3), t(0, 9), torch.tensor([0, 0])), beta=0.5).tolist() == [1.0]


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_ipo_is_copg_with_rewards_of_a_quarter(beta: float) -> None:
    # Prop. 3, in value and gradient
    policy, ref, _, group = ragged((2, 2, 2))
    first = torch.stack([(group == g).nonzero()[0, 0] for g in range(3)])
    quarters = torch.full_like(policy, -0.25).index_fill(0, first, 0.25)
    args = ref, quarters, group
    torch.testing.assert_close(
        ipo_loss(of(policy, *args), beta=beta), copg_loss(of(policy, *args), beta=beta)
    )
    torch.testing.assert_close(
        gradient(lambda p: ipo_loss(of(p, *args), beta=beta), policy),
        gradient(lambda p: copg_loss(of(p, *args), beta=beta), policy),
    )


def test_dpo_of_one_pair_by_hand() -> None:
    # delta = 1: -log sigmoid(.5) = log(1 + exp(-.5))
    loss = dpo_loss(of(t(-2, -3), t(-3, -3), t(1, 0), torch.tensor([0, 0])), beta=0.5)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-0.5))])


def test_length_normalised_ipo_by_hand() -> None:
    # d = 4/2 - 3/3 = 1, beta 1/4: (1/2 - 1/4)**2 / (1/2) = 1/8
    lengths = torch.tensor([2, 3])
    args = t(-1, -2), t(-5, -5), t(1, 0), torch.tensor([0, 0])
    assert load_loss("ipo_length_normalised")(of(*args, lengths), beta=0.25).tolist() == [0.125]
    with pytest.raises(ValueError, match=r"num_tokens must be \[N\]"):
        ipo_length_normalised_loss(of(*args, torch.tensor([2, 0])), beta=0.25)
    with pytest.raises(ValueError, match=r"one value a completion; found .* num_tokens \(1,\)"):
        ipo_length_normalised_loss(of(*args, torch.tensor([2])), beta=0.25)


def test_all_pairs_leave_out_ties_and_weigh_as_the_pairs_of_copg() -> None:
    # group 0: rewards 2, 1, 1 (a tie): pairs (0,1), (0,2), weight 1/(3-1); group 1: (4,3), weight 1
    rewards, group = t(2, 1, 1, 0, 5), torch.tensor([0, 0, 0, 1, 1])
    pairs = preference_pairs(rewards, group, group_sizes(group), "all")
    found = sorted(zip(pairs.winner.tolist(), pairs.loser.tolist(), pairs.weight.tolist(), strict=True))
    assert found == [(0, 1, 0.5), (0, 2, 0.5), (4, 3, 1.0)]


def test_disjoint_pairs_join_the_best_with_the_worst() -> None:
    # group 0, by reward: 2 (.1), 0 (.3), 5 (.5), 3 (.7), 1 (.9): 1 > 2, 3 > 0, 5 is left out
    # group 1: 4 (1), 6 (2): 6 > 4;  group 2, one completion: none;  group 3, tied: none
    rewards = t(0.3, 0.9, 0.1, 0.7, 1, 0.5, 2, 8, 4, 4)
    group = torch.tensor([0, 0, 0, 0, 1, 0, 1, 2, 3, 3])
    pairs = preference_pairs(rewards, group, group_sizes(group), "disjoint")
    found = sorted(zip(pairs.winner.tolist(), pairs.loser.tolist(), pairs.weight.tolist(), strict=True))
    assert found == [(1, 2, 1.0), (3, 0, 1.0), (6, 4, 1.0)]


def test_both_pairings_agree_for_two_completions_a_prompt() -> None:
    args = ragged((2, 2, 2))
    for loss in (ipo_loss, dpo_loss):
        torch.testing.assert_close(loss(of(*args), beta=0.3), loss(of(*args), beta=0.3, pairs="disjoint"))


def test_policy_gradient_follows_reward_times_score() -> None:
    # R_b = 3 - .5 * 1, 1 - .5 * -2 = 2.5, 2: the gradient is -R_b / K
    args = t(-4, -4), t(3, 1), torch.tensor([0, 0])
    grad = gradient(lambda p: pg_loss(of(p, *args), beta=0.5), t(-3, -6))
    assert grad.tolist() == [-1.25, -1.0]


def test_value_baselines_weigh_by_the_policy_over_the_reference() -> None:
    # policy / ref = 3, 1 within the group: E[R] = .75 * 2 + .25 * -2 = 1
    # d = log 3, 0; beta 1; R_b - b = 2 - log 3 - 1, -2 - 1, over K = 2
    args = t(0, 0), t(2, -2), torch.tensor([0, 0])
    policy = t(math.log(3), 0)
    grad = gradient(lambda p: pg_value_loss(of(p, *args), beta=1.0), policy)
    assert grad.tolist() == pytest.approx([-(1 - math.log(3)) / 2, 1.5])
    # E[R_b] = 1 - .75 log 3
    grad = gradient(lambda p: pg_regularised_value_loss(of(p, *args), beta=1.0), policy)
    b = 1 - 0.75 * math.log(3)
    assert grad.tolist() == pytest.approx([-(2 - math.log(3) - b) / 2, (2 + b) / 2])


def test_only_the_regularised_baseline_stays_at_the_optimum() -> None:
    _, ref, rewards, group = ragged()
    best = ref + rewards / 0.5
    zero = gradient(lambda p: pg_regularised_value_loss(of(p, ref, rewards, group), beta=0.5), best)
    torch.testing.assert_close(zero, torch.zeros_like(zero), atol=1e-12, rtol=0)
    assert gradient(lambda p: pg_value_loss(of(p, ref, rewards, group), beta=0.5), best).abs().max() > 0.01


def test_supervised_loss_is_the_cross_entropy_of_the_best() -> None:
    # group 0: best is -2; group 1: two share the best reward, mean of 4 and 6
    args = t(-9, -9, -9, -9, -9), t(1, 3, 5, 5, 0), torch.tensor([0, 0, 1, 1, 1])
    assert sft_loss(of(t(-1, -2, -4, -6, -7), *args), beta=1.0).tolist() == [2.0, 5.0]


# all of them


# pg_value and pg_regularised_value hold the baseline constant: estimators, and no function's gradient
@pytest.mark.parametrize("method", sorted({*EVERY} - {"pg_value", "pg_regularised_value"}))
def test_gradients_agree_with_finite_differences(method: str) -> None:
    policy, ref, rewards, group = ragged()
    lengths = torch.arange(1, len(policy) + 1)
    loss = load_loss(method)
    assert torch.autograd.gradcheck(
        lambda p: loss(of(p, ref, rewards, group, lengths), beta=0.3),
        policy.requires_grad_(),
        eps=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("method", EVERY)
def test_the_order_of_completions_and_of_groups_does_not_matter(method: str) -> None:
    policy, ref, rewards, group = ragged()
    lengths = torch.arange(1, len(policy) + 1)
    order = torch.randperm(len(policy), generator=torch.Generator().manual_seed(1))
    relabel = torch.tensor([2, 0, 3, 1])
    before = load_loss(method)(of(policy, ref, rewards, group, lengths), beta=0.3)
    moved = of(policy[order], ref[order], rewards[order], relabel[group[order]], lengths[order])
    after = load_loss(method)(moved, beta=0.3)
    torch.testing.assert_close(after[relabel], before)


@pytest.mark.parametrize("method", EVERY)
def test_groups_of_one_and_ties_give_finite_losses_and_gradients(method: str) -> None:
    policy = t(-1, -2, -3).requires_grad_()
    batch = of(policy, t(-1, -1, -1), t(1, 2, 2), torch.tensor([0, 1, 1]), torch.tensor([1, 2, 3]))
    losses = load_loss(method)(batch, beta=0.5)
    losses.sum().backward()
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    assert policy.grad is not None
    assert policy.grad.isfinite().all()
    if not method.startswith(
        ("pg", "sft", "astar_po", "dro_v", "kto")
    ):  # without a contrast a group of one teaches nothing
        assert policy.grad[0] == 0


@pytest.mark.parametrize("method", EVERY)
def test_no_completions_give_no_losses(method: str) -> None:
    empty = torch.zeros(0)
    batch = of(empty, empty, empty, torch.zeros(0, dtype=torch.int64))
    assert load_loss(method)(batch, beta=1.0).shape == (0,)


@pytest.mark.parametrize("method", EVERY)
def test_a_spoilt_completion_spoils_its_own_group_alone(method: str) -> None:
    policy, ref, rewards, group = ragged((2, 3))
    policy[int((group == 0).nonzero()[0, 0])] = math.nan
    losses = load_loss(method)(of(policy, ref, rewards, group), beta=0.5)
    assert losses[1].isfinite()


def test_mistakes_are_named() -> None:
    two, group = t(0, 0), torch.tensor([0, 0])
    with pytest.raises(
        ValueError, match=r"beta=0 must be > 0: at 0 nothing ties the policy to the reference"
    ):
        copg_loss(of(two, two, two, group), beta=0)
    with pytest.raises(ValueError, match=r"one value a completion; found .* rewards \(1,\)"):
        copg_loss(of(two, two, t(0), group), beta=1.0)
    with pytest.raises(ValueError, match=r"all must be \[N\]"):
        copg_loss(of(two[None], two[None], two[None], group[None]), beta=1.0)
    with pytest.raises(ValueError, match=r"no completion of group 1: every index 0..2 must occur"):
        copg_loss(of(two, two, two, torch.tensor([0, 2])), beta=1.0)
    with pytest.raises(ValueError, match=r"group holds -1"):
        copg_loss(of(two, two, two, torch.tensor([-1, 0])), beta=1.0)
    with pytest.raises(ValueError, match=r"group is torch.float64"):
        copg_loss(of(two, two, two, two), beta=1.0)
    with pytest.raises(ValueError, match=r"method='ppo' is unknown; use one of \['astar_po', 'copg', "):
        load_loss("ppo")
    with pytest.raises(ValueError, match=r"pairs='some' is unknown"):
        ipo_loss(of(two, two, two, group), beta=1.0, pairs="some")  # type: ignore[arg-type]


# diagnostics


def test_the_residual_is_one_at_the_reference_and_zero_at_the_optimum() -> None:
    _, ref, rewards, group = ragged()
    assert float(residual_fraction(of(ref, ref, rewards, group), beta=0.5)) == 1.0
    best = ref + rewards / 0.5
    assert float(residual_fraction(of(best, ref, rewards, group), beta=0.5)) == pytest.approx(0, abs=1e-24)
    # beta d = R / 2: a half of each deviation is left, a quarter of the variance
    half = ref + rewards
    assert float(residual_fraction(of(half, ref, rewards, group), beta=0.5)) == pytest.approx(0.25)
    assert residual_fraction(of(ref, ref, t(*[1.0] * len(ref)), group), beta=0.5).isnan()


def test_extreme_log_ratios_follow_the_best_and_the_worst() -> None:
    # group 0: best 0 (d = 1), worst 2 (d = -1); group 1: tied, mean of 2 and 4 both ways
    policy, ref = t(-1, -2, -3, -1, -1), t(-2, -2, -2, -3, -5)
    best, worst = extreme_log_ratios(of(policy, ref, t(3, 2, 1, 0, 0), torch.tensor([0, 0, 0, 1, 1])))
    assert (best.tolist(), worst.tolist()) == ([1.0, 3.0], [-1.0, 3.0])


def test_reward_spread_is_the_sample_deviation_within_a_prompt() -> None:
    # 0, 2: sqrt(2); one completion: 0
    assert reward_spread(t(0, 2, 7), torch.tensor([0, 0, 1])).tolist() == pytest.approx([math.sqrt(2), 0])


def test_a_loss_loads_the_file_of_its_own_method_alone_and_the_names_load_nothing() -> None:
    script = """
import sys
from copg.losses import LOSSES, load_loss
assert "torch" not in sys.modules
load_loss("ipo")
print(*sorted(name for name in sys.modules if name.startswith("copg.losses.")))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["copg.losses.groups", "copg.losses.ipo", "copg.losses.pairs"]


@pytest.mark.parametrize("offset", [0.0, -3e8, 1e9])
def test_an_offset_of_a_thousand_million_spreads_moves_centred_rewards_by_a_millionth(offset: float) -> None:
    spread = torch.tensor([0.1, 0.7, 0.4, 1.0, 0.0], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 1, 1])
    values = torch.zeros(5)
    completions = Completions(values, values, spread + offset, torch.ones(5), group)
    found = centre_rewards(completions, group_sizes(group), torch.float32)
    # of 0.1, 0.7, 0.4 the mean is 0.4; of 1 and 0 it is 0.5
    expected = torch.tensor([-0.3, 0.3, 0.0, 0.5, -0.5])
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-6


def test_tied_groups_are_those_that_score_counts() -> None:
    # three times 0.1 has a mean that differs from 0.1 in its last digit: the spread is not 0, the tie is one
    rewards = torch.tensor([0.1, 0.1, 0.1, 1e9, 1e9 + 1e-6, 5.0], dtype=torch.float64)
    assert tied_groups(rewards, torch.tensor([0, 0, 0, 1, 1, 2])).tolist() == [True, False, False]
