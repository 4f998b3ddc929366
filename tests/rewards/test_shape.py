"""Where the contrast of a prompt lies, by hand."""

import numpy as np
import pytest

from copg.rewards.shape import shape_of


def test_gaps_and_skew_by_hand() -> None:
    # range 10: 7 of it at the bottom, 1 at the top; even thirds. A tie and a pair say nothing
    shape = shape_of([np.array([9.0, 0.0, 10.0, 7.0]), np.array([2.0, 2.0, 2.0]), np.array([0.0, 5.0])])
    assert (shape.num_prompts, shape.bottom_gap, shape.top_gap) == (1, pytest.approx(0.7), pytest.approx(0.1))
    assert shape.even == pytest.approx(1 / 3)
    # centred 2.5, -6.5, 3.5, .5: squares 61, cubes -216
    assert shape.skew == pytest.approx((-216 / 4) / (61 / 4) ** 1.5)
    (line,) = shape.lines()
    assert "the worst completion has most of the contrast" in line
    assert "train.transform=rank" in line
    (line,) = shape_of([-np.array([9.0, 0.0, 10.0, 7.0])]).lines()
    assert "the best completion has most of the contrast" in line
    (line,) = shape_of([np.array([0.0, 1.0, 2.0])]).lines()
    assert line.endswith("(50 % were even)")
    assert shape.metrics().keys() == {"reward/skew", "reward/bottom_gap", "reward/top_gap"}


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 1e6, 1e200])
def test_no_scale_or_offset_changes_a_shape(scale: float) -> None:
    values = [np.array([0.0, 1.0, 8.0, 9.0]), np.array([4.0, 0.0, 5.0])]
    plain, moved = shape_of(values), shape_of([scale * (v + 3) for v in values])
    for name in ("skew", "bottom_gap", "top_gap", "even"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name)), name


def test_rewards_without_a_shape_say_nothing() -> None:
    for values in ([], [np.array([1.0, 1.0, 1.0])], [np.array([1e308, -1e308, 0.0])]):
        shape = shape_of(values)
        assert (shape.num_prompts, shape.lines(), shape.metrics()) == (0, [], {})
