"""Best of n, worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from copg.evaluation.best_of import best_of


def test_the_mean_of_the_best_at_the_bound_of_its_kl() -> None:
    one, two, four = best_of(
        {"a": [0.0, 1.0, 0.5, 0.25], "b": [0.5, 0.5, 0.0, 0.0], "c": [-1.0, 0.0, -2.0, -3.0]}
    )
    # the best are 1, 0.5 and 0; log 4 - 3/4 = 0.63629
    assert (one.num_drawn, two.num_drawn, four.num_drawn) == (1, 2, 4)
    assert four.reward.mean == pytest.approx(0.5)
    assert four.reward.low <= 0.5 <= four.reward.high
    assert four.kl_bound == pytest.approx(0.63629, abs=1e-5)
    # the best of one is any one: means .4375, .25, -1.5; no KL
    assert (one.reward.mean, one.kl_bound) == (pytest.approx(-0.8125 / 3), 0.0)
    # of the six pairs of a three hold 1, two more .5 and one .25: 4.25 / 6; b: 2.5 / 6; c: (3*0 -1-1-2) / 6
    assert two.reward.mean == pytest.approx((4.25 + 2.5 - 4) / 18)


def test_of_fewer_than_all_it_is_the_mean_over_every_choice() -> None:
    drawn = {str(prompt): list(np.random.default_rng(prompt).normal(size=11)) for prompt in range(5)}
    found = {each.num_drawn: each.reward.mean for each in best_of(drawn)}
    assert list(found) == [1, 2, 4, 8, 11]
    for n, mean in found.items():
        every = [np.mean([max(some) for some in itertools.combinations(of, n)]) for of in drawn.values()]
        assert mean == pytest.approx(np.mean(every), rel=1e-12)


def test_of_uneven_numbers_the_smallest_counts_for_all() -> None:
    *_, found = best_of({"a": [0.0, 1.0, 5.0], "b": [2.0, 1.0]})
    # the best of the first two: 1 and 2
    assert (found.num_drawn, found.reward.mean) == (2, 1.5)


@pytest.mark.parametrize(
    "rewards", [{}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0]}, {"a": [1, math.nan], "b": [1, 2]}]
)
def test_where_there_is_nothing_to_choose_from_there_is_none(rewards: dict) -> None:
    assert best_of(rewards) == []


def test_its_interval_is_that_of_the_rewards_it_is_taken_from() -> None:
    rewards = {f"d{i // 3} p{i}": [0.0, float(i // 3 % 4 > 0)] for i in range(60)}
    documents = {prompt: prompt.split()[0] for prompt in rewards}
    *_, free = best_of(rewards)
    *_, exact = best_of(rewards, bounds=(0.0, 1.0))
    *_, together = best_of(rewards, bounds=(0.0, 1.0), clusters=documents)
    assert free.reward.mean == exact.reward.mean == together.reward.mean == 0.75
    assert together.reward.low < exact.reward.low < 0.75 < exact.reward.high < together.reward.high < 1
    *_, always = best_of({str(i): [0.0, 1.0] for i in range(20)}, bounds=(0.0, 1.0))
    assert always.reward.low < 0.9  # twenty of twenty say no more
    assert always.reward.high == 1
    assert best_of(rewards, clusters=dict.fromkeys(rewards, "the only document")) == []
