"""Estimates over prompts: worked values, and intervals that hold the truth as often as they say."""

import math

import numpy as np
import pytest

from copg.evaluation.estimates import (
    estimate,
    kl_k1,
    paired_difference,
    win_rate,
)


def test_the_mean_is_over_prompts_however_many_samples_each_has() -> None:
    # prompt means 2, 5 and 8, mean 5; over samples it would be (1 + 3 + 5 + 8) / 4 = 4.25
    found = estimate([[1.0, 3.0], [5.0], [8.0]])
    assert found.mean == 5.0
    assert found.low < 5.0 < found.high


def test_constant_values_have_an_interval_of_no_width() -> None:
    found = estimate([[0.1, 0.1, 0.1], [0.1], [0.1]])
    assert (found.low, found.high) == (found.mean, found.mean)
    assert found.mean == pytest.approx(0.1, abs=1e-15)


def test_two_prompts_have_the_interval_of_students_t() -> None:
    # values 1 and 3: mean 2, standard error 1, t at .975 with one degree of freedom 12.706; no skewness
    found = estimate([[1.0], [3.0]])
    assert (found.low, found.mean, found.high) == pytest.approx((2 - 12.706, 2.0, 2 + 12.706), abs=1e-3)


def test_equal_values_have_equal_intervals_and_a_shift_or_scale_moves_them_along() -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    first, second = estimate(values.tolist()), estimate(values.tolist())
    assert first == second
    moved = estimate((3 * values + 1).tolist())
    for name in ("mean", "low", "high"):
        assert getattr(moved, name) == pytest.approx(3 * getattr(first, name) + 1)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "0 prompts have no interval"),
        ([[1.0]], "1 prompts have no interval; at least 2"),
        ([[1.0], []], "prompt 1 has no samples"),
        ([[1.0], [2.0, math.nan]], "prompt 1 has a value that is not finite"),
        ([[math.inf], [2.0]], "prompt 0 has a value that is not finite"),
    ],
)
def test_what_has_no_estimate_is_refused(samples: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(samples)


def coverage(kind: str, num_prompts: int, repeats: int = 300) -> tuple[float, float]:
    """How often the interval holds the truth, and how often one that takes samples as independent would."""
    rng, held, naive = np.random.default_rng(1), 0, 0
    for _ in range(repeats):
        if kind == "normal":  # prompts differ as much as the samples of one
            samples, truth = rng.normal(size=(num_prompts, 1)) + rng.normal(size=(num_prompts, 4)), 0.0
        else:  # log-ratios: a skewed KL a prompt, normal around it with the variance 2 KL of close policies
            kl = 2 * rng.lognormal(0, 0.8, (num_prompts, 1))
            samples, truth = rng.normal(kl, np.sqrt(2 * kl), (num_prompts, 4)), 2 * math.exp(0.32)
        found = estimate(samples.tolist())
        held += found.low <= truth <= found.high
        flat = samples.ravel()
        naive += abs(flat.mean() - truth) <= 1.96 * flat.std(ddof=1) / math.sqrt(flat.size)
    return held / repeats, naive / repeats


@pytest.mark.parametrize(("kind", "least"), [("normal", 0.93), ("log-ratios", 0.92)])
def test_the_interval_holds_the_truth_19_times_in_20_where_samples_of_a_prompt_are_alike(
    kind: str, least: float
) -> None:
    held, naive = coverage(kind, 128)
    # 300 repeats: standard error .0126
    assert least <= held <= 0.98
    assert naive < held - 0.03


def test_the_interval_holds_for_eight_prompts_too() -> None:
    assert coverage("normal", 8)[0] >= 0.92  # the plain percentile interval: .90


def test_the_kl_estimate_has_the_exact_kl_as_mean() -> None:
    # policy (.5, .5), reference (.8, .2): KL = .5 log(.5/.8) + .5 log(.5/.2) = .2231 nats
    assert kl_k1([math.log(0.5 / 0.8), math.log(0.5 / 0.2)]).mean() == pytest.approx(0.2231, abs=1e-4)


def test_a_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 3, (60, 1))  # some are easy for both
    first = prompts + 0.5 + rng.normal(0, 0.3, (60, 3))
    second = prompts + rng.normal(0, 0.3, (60, 2))
    found = paired_difference(first.tolist(), second.tolist())
    assert 0.3 < found.low < 0.5 < found.high < 0.7
    a, b = estimate(first.tolist()), estimate(second.tolist())
    assert found.mean == pytest.approx(a.mean - b.mean)
    assert (a.high - a.low) > 5 * (found.high - found.low)
    with pytest.raises(ValueError, match="2 prompts and 3 prompts cannot be paired"):
        paired_difference([[1.0]] * 2, [[1.0]] * 3)


def test_a_win_is_over_all_pairs_of_a_prompt_and_a_tie_counts_half() -> None:
    # prompt 1: 2 against 1, 2 -> win, tie; 3 against both -> two wins: 3.5 of 4
    # prompt 2: 0 against 0 -> half; mean (.875 + .5) / 2 = .6875
    assert win_rate([[2.0, 3.0], [0.0]], [[1.0, 2.0], [0.0]]).mean == 0.6875
    assert win_rate([[1.0], [2.0]], [[0.0], [0.0]]).mean == 1.0
    with pytest.raises(ValueError, match="not finite"):
        win_rate([[math.nan], [0.0]], [[1.0], [0.0]])
    with pytest.raises(ValueError, match="1 prompts and 2 prompts"):
        win_rate([[1.0]], [[1.0], [1.0]])
