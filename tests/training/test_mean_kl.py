"""The KL of a few drawn completions, against that of a world that is counted out."""

import numpy as np
import pytest

from copg.training.samples import FEWEST, mean_kl


def draws(kl: float, count: int, repeats: int) -> list[np.ndarray]:
    """Log-ratios of two normal distributions of one width, half of whose distance squared is the KL."""
    distance = (2 * kl) ** 0.5
    values = np.random.default_rng(3).normal(distance, 1.0, (repeats, count))
    return [*(values * distance - kl)]


@pytest.mark.parametrize(("kl", "at_most"), [(0.1, 0.4), (0.3, 0.65)])
def test_it_is_right_on_average_and_noise_is_a_fraction_of_that_of_the_mean(
    kl: float, at_most: float
) -> None:
    found = draws(kl, 256, 400)
    controlled = np.array([mean_kl(each.tolist()) for each in found])
    plain = np.array([each.mean() for each in found])
    assert controlled.mean() == pytest.approx(kl, rel=0.03)
    assert controlled.std() < at_most * plain.std()


@pytest.mark.parametrize("kl", [1.0, 2.3, 5.0])
@pytest.mark.parametrize("count", [64, 256])
def test_far_away_it_is_not_pulled_down_by_the_rare_completions_that_were_not_drawn(
    kl: float, count: int
) -> None:
    controlled = np.array([mean_kl(each.tolist()) for each in draws(kl, count, 400)])
    assert controlled.mean() == pytest.approx(kl, rel=0.03)


def test_a_few_or_wild_log_ratios_are_their_mean() -> None:
    few = [0.3, -0.1] * (FEWEST // 2 - 1)
    assert mean_kl(few) == pytest.approx(0.1)
    assert mean_kl([0.0] * 32) == 0.0
    assert mean_kl([-1e4, 1.0] * 32) == pytest.approx(-4999.5)  # reference / policy is beyond every number
    assert np.isnan(mean_kl([float("nan")] * 32))
