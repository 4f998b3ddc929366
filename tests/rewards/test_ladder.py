"""The ladder of betas against worlds whose optimum is known exactly."""

import json
import math
import re

import numpy as np
import pytest

from copg.records import Completion, Group
from copg.rewards.ladder import read_ladder
from copg.rewards.predicting import MIN_EFFECTIVE, Weighing, build_ladder
from copg.rewards.tilting import corrected, tilt

WORLDS = {
    "two-valued, .5": ([0.0, 1.0], [0.5, 0.5]),
    "two-valued, .3": ([0.0, 1.0], [0.7, 0.3]),
    "two-valued, .1": ([0.0, 1.0], [0.9, 0.1]),
    # a quarter at the top, and a tail of failures
    "left-skewed": (
        list(-(np.arange(24) ** 1.5)),
        list(0.75 ** np.arange(24) / (0.75 ** np.arange(24)).sum()),
    ),
    "bounded": (list(np.linspace(0, 1, 101)), [1 / 101] * 101),
}
NORMAL = (list(np.linspace(-4.5, 4.5, 181)), list(np.exp(-(np.linspace(-4.5, 4.5, 181) ** 2) / 2)))


def exact(world: tuple[list[float], list[float]], beta: float) -> tuple[float, float, float]:
    """Reward, KL and J* of ref * exp(R / beta) / Z, by enumeration."""
    rewards, ref = np.array(world[0]), np.array(world[1]) / np.sum(world[1])
    weights = ref * np.exp((rewards - rewards.max()) / beta)
    log_z = math.log(weights.sum()) + rewards.max() / beta
    reward = float((weights / weights.sum() * rewards).sum())
    return reward, reward / beta - log_z, beta * log_z


def draws(world: tuple[list[float], list[float]], num_prompts: int, k: int) -> list[np.ndarray]:
    ref = np.array(world[1]) / np.sum(world[1])
    rng = np.random.default_rng(7)
    return list(np.array(world[0])[rng.choice(len(ref), size=(num_prompts, k), p=ref)])


@pytest.mark.parametrize("name", WORLDS)
def test_sixteen_draws_predict_bounded_rewards_within_a_quarter_and_unmarked(name) -> None:
    world = WORLDS[name]
    ladder = build_ladder(draws(world, 300, 16), base="reference")
    looked = 0
    for rung in ladder.rungs:
        _, kl, objective = exact(world, rung.beta)
        if rung.kl.mean <= 0.7 * ladder.support:
            looked += 1
            assert rung.kl.mean == pytest.approx(kl, rel=0.25), rung
            at_base = exact(world, 1e9)[2]
            assert rung.gain == pytest.approx(objective - at_base, rel=0.25), rung
            assert not rung.lower_bound, rung
    assert looked >= 6


def test_a_tail_that_so_few_draws_do_not_show_is_marked_as_a_lower_bound() -> None:
    ladder = build_ladder(draws(NORMAL, 300, 16), base="reference")
    for rung in ladder.rungs:
        _, kl, _ = exact(NORMAL, rung.beta)
        if rung.lower_bound:
            assert rung.effective < MIN_EFFECTIVE
            assert rung.kl.mean < kl
        else:
            assert rung.kl.mean == pytest.approx(kl, rel=0.3), rung
    assert sum(rung.lower_bound for rung in ladder.rungs) >= 3


def test_two_completions_by_hand() -> None:
    # rewards 0 and 2, beta 2: mean exp(R / 2) = (1 + e) / 2; weights 1 / (1 + e) and e / (1 + e)
    found = tilt(np.array([[0.0, 2.0]]), np.zeros((1, 2)), 2.0)
    share = math.e / (1 + math.e)
    assert found.objective[0] == pytest.approx(2 * math.log((1 + math.e) / 2))
    assert found.reward[0] == pytest.approx(2 * share)
    assert found.kl[0] == pytest.approx(
        math.log(2) + share * math.log(share) + (1 - share) * math.log(1 - share)
    )
    assert found.effective[0] == pytest.approx(1 / (share**2 + (1 - share) ** 2))
    assert found.base_reward[0] == 1
    # leaving one out leaves the other: 2 J - (0 + 2) / 2
    assert corrected(np.array([[0.0, 2.0]]), 2.0).objective[0] == pytest.approx(2 * found.objective[0] - 1)


@pytest.mark.parametrize("beta", [0.01, 0.3, 20.0])
def test_the_jackknife_in_closed_form_is_that_by_leaving_out(beta) -> None:
    rewards = np.array([[0.0, 1.0, 5.0, 5.0], [1e9, 1e9 + 1, 1e9 + 2, 1e9 + 7]])
    whole = tilt(rewards, np.zeros((2, 4)), beta)
    parts = [tilt(np.delete(rewards, k, axis=1), np.zeros((2, 3)), beta) for k in range(4)]
    found = corrected(rewards, beta)
    for name in ("objective", "reward"):
        by_hand = 4 * getattr(whole, name) - 3 * sum(getattr(part, name) for part in parts) / 4
        assert getattr(found, name) == pytest.approx(by_hand, rel=1e-12), name


def test_completions_of_others_count_by_what_the_reference_gives_them() -> None:
    # p = (1, 3) / 4 at rewards (1, 0): support -ln(1 / 4), and J*(b) = b ln(e^(1/b) / 4 + 3 / 4)
    group = Group("a", "p", [Completion("x", reward=1.0, ref_logps=-9.0), Completion("y", reward=0.0)])
    group.completions[1].ref_logps = -9.0 + math.log(3)
    weighing = Weighing()
    weighing.add([group, group, Group("b", "q", [Completion("z", reward=5.0, ref_logps=-1.0)])])
    ladder = weighing.ladder()
    assert (ladder.base, ladder.num_prompts) == ("weighted", 2)
    assert ladder.support == pytest.approx(math.log(4))
    for rung in ladder.rungs:
        expected = rung.beta * math.log(math.exp(1 / rung.beta) / 4 + 3 / 4)
        assert rung.objective.mean == pytest.approx(expected)
        assert rung.gain == pytest.approx(expected - 1 / 4)


def test_a_ladder_is_kept_and_read_again_and_knows_betas_between_its_rungs() -> None:
    world = WORLDS["two-valued, .3"]
    ladder = build_ladder(draws(world, 300, 16), base="others")
    again = read_ladder(json.loads(json.dumps(ladder.facts(), allow_nan=False)))
    assert again is not None
    assert again.facts() == ladder.facts()
    for beta in (0.33, 0.7, 3.0, 30.0):
        _, kl, objective = exact(world, beta)
        assert again.gain_at(beta) == pytest.approx(objective - 0.3, rel=0.1), beta
        assert again.kl_at(beta) == pytest.approx(kl, rel=0.1), beta
    assert again.doubt(0.4) is None
    assert "asks for more than these logs support" in str(again.doubt(0.05))
    assert "is so high that the best policy lies" in str(again.doubt(50.0))
    text = "\n".join(ladder.lines())
    assert "the most these logs can support is" in text
    assert "extrapolated" in text
    assert "extrapolated" not in "\n".join(build_ladder(draws(world, 9, 4), base="reference").lines())


def test_scale_and_offset_of_rewards_move_the_betas_alone() -> None:
    rewards = draws(WORLDS["bounded"], 50, 8)
    plain, moved = (
        build_ladder([scale * r + 7 * scale for r in rewards], base="reference") for scale in (1.0, 1e6)
    )
    for one, other in zip(plain.rungs, moved.rungs, strict=True):
        assert other.beta == pytest.approx(1e6 * one.beta)
        assert other.kl.mean == pytest.approx(one.kl.mean)
        assert other.lower_bound == one.lower_bound


def test_tied_rewards_and_single_completions_support_nothing() -> None:
    ladder = build_ladder([np.array([2.0, 2.0]), np.array([5.0])], base="reference")
    assert (ladder.support, list(ladder.rungs), ladder.num_prompts) == (0.0, [], 1)
    assert math.isnan(ladder.gain_at(1.0))
    assert ladder.doubt(1e-9) is None
    assert "rewards do not differ" in ladder.advice(0.0)[0]
    assert build_ladder([], base="reference").rungs == []


def test_one_prompt_far_out_does_not_hide_the_betas_of_all_others() -> None:
    rewards = [*np.random.default_rng(0).normal(size=(50, 8)), np.array([0.0] * 7 + [1e12])]
    ladder = build_ladder(rewards, base="reference")
    alone = build_ladder(rewards[:-1], base="reference")
    # of eight completions .8 of ln 8 nats is asked for with or without it
    assert ladder.rungs[-1].beta == pytest.approx(alone.rungs[-1].beta, rel=0.1)


def test_the_ladder_is_told_in_as_many_digits_as_its_intervals_can_tell_apart() -> None:
    rewards = 0.1 * np.random.default_rng(0).normal(size=(50, 8))
    for scale, offset in ((1.0, 0.0), (1.0, 1000.0), (1e-12, 0.0), (1e12, 0.0), (1.0, 1e9)):
        ladder = build_ladder(list(scale * rewards + offset), base="reference")
        cells = [row[place] for row in ladder.rows() for place in (1, 3)]
        assert len(set(cells)) == len(cells)
        for cell in cells:
            mean, low, high = map(float, re.sub(r"[\[\],]", "", cell).split())
            assert low < mean < high, cell
        assert (scale, offset) != (1.0, 0.0) or max(map(len, ladder.lines())) <= 110
