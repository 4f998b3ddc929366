"""The norm to which gradients are scaled down, worked out by hand."""

import math
import random

import pytest

from copg.training.clipping import LEAST, WINDOW, clip_at, remember


def test_a_norm_that_is_given_is_the_norm() -> None:
    assert clip_at(0.5, [3.0] * 50) == 0.5


def test_else_it_is_the_ninth_of_ten_and_nothing_is_scaled_before_there_are_ten() -> None:
    norms = [4.0, 9.0, 1.0, 7.0, 3.0, 10.0, 8.0, 2.0, 6.0, 5.0]
    assert clip_at(None, norms) == 9.0
    assert clip_at(None, norms[: LEAST - 1]) == math.inf
    # one that runs away does not raise it, and is scaled to what is usual
    assert clip_at(None, remember(norms, 1e9)) == 10.0


def test_the_latest_are_remembered_and_none_of_0() -> None:
    norms: list[float] = []
    for step in range(1, 151):
        norms = remember(remember(norms, float(step)), 0.0)
    assert norms == [float(step) for step in range(51, 151)]
    assert len(norms) == WINDOW
    assert clip_at(None, norms) == 140.0  # 90 of the 100 are at most as large


@pytest.mark.parametrize("scale", [2.0**-40, 0.3, 1e12])
def test_what_multiplies_all_norms_scales_the_same_steps_by_the_same_factors(scale: float) -> None:
    rng = random.Random(0)
    steps = [rng.lognormvariate(0, 1) for _ in range(400)]
    factors = []
    for unit in (1.0, scale):
        norms: list[float] = []
        of_unit = []
        for each in steps:
            of_unit.append(min(1.0, clip_at(None, norms) / (unit * each)))
            norms = remember(norms, unit * each)
        factors.append(of_unit)
    assert factors[0] == pytest.approx(factors[1], rel=1e-12)
    assert 0.07 < sum(factor < 1 for factor in factors[0]) / len(steps) < 0.13
