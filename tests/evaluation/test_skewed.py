"""Intervals of values without bounds: ends worked out by hand, and how often they hold."""

import math

import numpy as np
import pytest
from scipy import stats

from copg.evaluation import skewed
from copg.evaluation.estimates import estimate, heavy_tail, surely_below
from copg.evaluation.skewed import probability_below, skewed_interval


def missed(values: np.ndarray, truth: float) -> tuple[float, float]:
    """Share of the rows of ``values`` [repeats, n] whose low, and whose high end is on the wrong side."""
    ends = np.array([skewed_interval(row, 0.025) for row in values])
    return float((ends[:, 0] > truth).mean()), float((ends[:, 1] < truth).mean())


def test_without_skewness_it_is_students_interval() -> None:
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    # s = sqrt(10 / 4) = 1.5811, standard error .7071, t at .975 with 4 degrees 2.7764
    assert skewed_interval(values, 0.025) == pytest.approx((-1.9632, 1.9632), abs=1e-3)
    assert probability_below(values, 0.7071) == pytest.approx(stats.t.cdf(-1, 4), abs=1e-4)


def test_the_interval_is_what_the_test_does_not_reject() -> None:
    values = np.random.default_rng(3).lognormal(0, 1, 64)
    low, high = skewed_interval(values, 0.025)
    assert probability_below(values, high) == pytest.approx(0.025, rel=1e-6)
    assert probability_below(values, low) == pytest.approx(0.975, rel=1e-6)
    mean = values.mean()
    assert high - mean > mean - low, "what was not seen lies above"
    mirrored = skewed_interval(-values, 0.025)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize(("num_prompts", "sigma"), [(64, 0.0), (64, 1.0), (128, 1.0), (64, 1.5)])
def test_each_end_holds_as_often_as_it_says_however_skewed(num_prompts: int, sigma: float) -> None:
    drawn = np.random.default_rng(4).normal(size=(3000, num_prompts))
    values, truth = (np.exp(sigma * drawn), math.exp(sigma**2 / 2)) if sigma else (drawn, 0.0)
    # 3000 repeats: standard error .0028. The bootstrap's upper end held .93 (sigma 1) and .885 (1.5)
    least, most = (0.92, 1.0) if sigma == 1.5 else (0.9575, 0.9875)
    for miss in missed(values, truth):
        assert least <= 1 - miss <= most


def test_a_sample_that_counts_no_more_skewness_than_it_shows_is_seen_to_miss(monkeypatch) -> None:
    monkeypatch.setattr(skewed, "_UNSEEN", 1.0)
    values = np.random.default_rng(4).lognormal(0, 1.5, (2000, 64))
    assert missed(values, math.exp(1.125))[1] > 0.065


def test_a_heavy_tail_is_told_and_a_light_one_is_not() -> None:
    rng = np.random.default_rng(5)
    told = {
        s: np.mean([heavy_tail(rng.lognormal(0, s, (64, 1)).tolist()) for _ in range(100)])
        for s in (0.5, 1.5)
    }
    assert told[0.5] < 0.05
    assert told[1.5] > 0.6
    assert not heavy_tail([[1.0]] * 9)


def test_of_32_documents_with_4_prompts_each_the_interval_holds_by_document() -> None:
    rng, held, naive = np.random.default_rng(6), 0, 0
    documents = [i // 4 for i in range(128)]
    for _ in range(300):
        values = np.repeat(rng.normal(size=32), 4) + 0.5 * rng.normal(size=128)
        samples = values[:, None].tolist()
        by_document, by_prompt = estimate(samples, clusters=documents), estimate(samples)
        held += by_document.low <= 0 <= by_document.high
        naive += by_prompt.low <= 0 <= by_prompt.high
    assert 0.92 <= held / 300 <= 0.98  # standard error .0126
    assert naive / 300 < 0.8


def test_clusters_of_other_sizes_have_the_mean_over_prompts() -> None:
    rng = np.random.default_rng(7)
    clusters = [0] * 9 + list(range(1, 40))
    values = rng.normal(size=48)
    found = estimate(values[:, None].tolist(), clusters=clusters)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    with pytest.raises(ValueError, match="1 clusters have no interval"):
        estimate([[1.0], [2.0]], clusters=["a", "a"])


def test_a_drop_is_sure_where_its_upper_end_is_below_the_threshold() -> None:
    values = np.random.default_rng(8).normal(-1, 0.5, 40)
    assert surely_below(values, -0.5) < 1e-4
    assert surely_below(values, -2.0) > 0.999
    assert surely_below(np.full(9, 0.1), 0.1) == 1.0
    assert surely_below(np.full(9, 0.1), 0.2) == 0.0
