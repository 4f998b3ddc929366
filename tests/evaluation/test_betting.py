"""Intervals of bounded values: ends worked out by hand, and ends that miss no more often than they say."""

import math

import numpy as np
import pytest

from copg.evaluation import betting
from copg.evaluation.betting import _most_won, _spread_before, betting_interval
from copg.evaluation.estimates import estimate


def missed(values: np.ndarray, truth: float, tail: float) -> float:
    """Share of the columns of ``values`` [n, repeats], in [0, 1], whose low end lies above the truth."""
    goal = math.log(1 / tail)
    ones, truths = np.ones(len(values)), np.full(values.shape[1], truth)
    return float((_most_won(values, ones, truths, _spread_before(values), goal) >= goal).mean())


def test_a_single_bet_wins_what_it_says() -> None:
    # variance .25, one value left, goal ln 4: stake sqrt(2 * 1.3863 / .25) = 3.33, of which
    # .95 / .5 = 1.9 may be staked; a 1 against the mean .5 makes it 1 + 1.9 * .5 = 1.95
    values = np.array([1.0])
    won = _most_won(values, np.ones(1), np.array([0.5]), _spread_before(values), math.log(4))
    assert won[0] == pytest.approx(math.log(1.95))


def test_the_variance_is_known_from_earlier_values_alone() -> None:
    # prior .25 counts as one value; after 1 its mean is (.5 + 1) / 2 = .75 and its square .25**2 = .0625
    assert _spread_before(np.array([1.0, 0.3])) == pytest.approx([0.25, (0.25 + 0.0625) / 2])


@pytest.mark.parametrize("tail", [0.025, 0.001])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.97])
@pytest.mark.parametrize("num_prompts", [8, 64])
def test_each_end_misses_no_more_often_than_it_says_whatever_the_share(tail, share, num_prompts) -> None:
    rng = np.random.default_rng(5)
    values = (rng.random((num_prompts, 20_000)) < share).astype(float)
    # 20,000 repeats: standard error .0011 at .025 and .0002 at .001
    assert missed(values, share, tail) <= tail + 3 * math.sqrt(tail / 20_000)


def test_each_end_misses_no_more_often_than_it_says_for_differences_and_skewed_values() -> None:
    rng = np.random.default_rng(6)
    skewed = rng.beta(8, 0.5, (32, 20_000))
    assert missed(skewed, 8 / 8.5, 0.025) <= 0.025 + 0.0033  # the bootstrap's low end: .11
    assert missed(1 - skewed, 0.5 / 8.5, 0.025) <= 0.025 + 0.0033
    differences = (1 + rng.integers(0, 2, (64, 20_000)) - rng.integers(0, 2, (64, 20_000))) / 2
    assert missed(differences, 0.5, 0.001) <= 0.001 + 0.0007


def test_a_bet_that_looks_at_the_value_it_is_on_is_seen_to_fail() -> None:
    values = (np.random.default_rng(5).random((64, 2_000)) < 0.3).astype(float)
    honest = _spread_before(values)
    seeing = np.where(values > 0.3, honest / 100, honest * 100)  # bets high where it is about to win
    truths = np.full(2_000, 0.3)
    won = _most_won(values, np.ones(64), truths, seeing, math.log(40))
    assert (won >= math.log(40)).mean() > 0.1


def test_the_interval_is_nearly_as_narrow_as_the_normal_one() -> None:
    values = (np.random.default_rng(7).random(256) < 0.3).astype(float)
    found = betting_interval(values, np.ones(256), bounds=(0.0, 1.0), tail=0.025)
    normal = 1.96 * values.std() / 16
    assert found[1] - found[0] < 1.25 * 2 * normal
    assert found[0] < values.mean() < found[1]


def test_bounds_move_and_stretch_the_interval_with_the_values() -> None:
    values = np.random.default_rng(8).beta(2, 3, 40)
    low, high = betting_interval(values, np.ones(40), bounds=(0.0, 1.0), tail=0.025)
    moved = betting_interval(10 * values - 3, np.ones(40), bounds=(-3.0, 7.0), tail=0.025)
    assert moved == pytest.approx((10 * low - 3, 10 * high - 3))
    assert 0.0 <= low < high <= 1.0


def test_no_values_but_zeros_say_how_many_of_them_there_were() -> None:
    # 3 % successes: 128 prompts without one leave up to some per cent, 8 leave a third or more
    ends = [estimate([[0.0]] * n, bounds=(0.0, 1.0)) for n in (8, 128)]
    assert [each.low for each in ends] == [0.0, 0.0]
    assert ends[0].high > 0.3
    assert 1 - 0.025 ** (1 / 128) < ends[1].high < 0.06  # the exact end of a share is .0284


def test_a_value_out_of_bounds_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match=r"a value of 1.2 lies outside of its bounds \[0, 1\]"):
        estimate([[0.5], [1.2]], bounds=(0.0, 1.0))


def test_prompts_of_a_cluster_count_as_one_where_clusters_are_equal_and_all_bets_are_at_stake() -> None:
    rng = np.random.default_rng(9)
    means = rng.random(20)
    ids = [f"d{i // 4}" for i in range(80)]
    clustered = estimate([[m] for m in np.repeat(means, 4)], bounds=(0.0, 1.0), clusters=ids)
    alone = estimate([[m] for m in means], bounds=(0.0, 1.0))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    assert betting._AT_MOST < 1, "a stake is never lost whole"
