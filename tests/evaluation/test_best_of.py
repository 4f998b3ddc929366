"""Best of n, worked out by hand."""

import math

import pytest

from copg.evaluation.best_of import best_of


def test_the_mean_of_the_best_at_the_bound_of_its_kl() -> None:
    found = best_of({"a": [0.0, 1.0, 0.5, 0.25], "b": [0.5, 0.5, 0.0, 0.0], "c": [-1.0, 0.0, -2.0, -3.0]})
    # the best are 1, 0.5 and 0; log 4 - 3/4 = 0.63629
    assert found is not None
    assert found.num_drawn == 4
    assert found.reward.mean == pytest.approx(0.5)
    assert found.reward.low <= 0.5 <= found.reward.high
    assert found.kl_bound == pytest.approx(0.63629, abs=1e-5)


def test_of_uneven_numbers_the_smallest_counts_for_all() -> None:
    found = best_of({"a": [0.0, 1.0, 5.0], "b": [2.0, 1.0]})
    # the best of the first two: 1 and 2
    assert found is not None
    assert (found.num_drawn, found.reward.mean) == (2, 1.5)


@pytest.mark.parametrize(
    "rewards", [{}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0]}, {"a": [1, math.nan], "b": [1, 2]}]
)
def test_where_there_is_nothing_to_choose_from_there_is_none(rewards: dict) -> None:
    assert best_of(rewards) is None
