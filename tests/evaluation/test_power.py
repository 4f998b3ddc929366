"""What the gate can see: worked values, and the shapes of what is told."""

import math

import pytest

from copg.evaluation.power import GAIN, MIN_PROMPTS, Gate, fewest_prompts, outlook, refusal

LEVEL = 0.05 / 52


def test_without_bounds_the_prompts_are_those_of_a_normal_test_and_a_quarter_more() -> None:
    # two-valued of mean .3: spread sqrt(.21) = .458; gain .06; z(1 - .05/52) = 3.1027, z(.8) = .8416
    # (3.9443 / .06)^2 * .21 * 2 / 4 = 453.6, times 1.25 = 567
    gate = Gate(spread=math.sqrt(0.21), samples=4, level=LEVEL)
    assert gate.prompts_needed(0.06) == 567
    assert gate.gain_seen(567) == pytest.approx(0.06, rel=0.02)
    assert gate.gain_seen(MIN_PROMPTS) < math.inf


def test_bounds_that_are_wide_for_the_spread_take_more_prompts() -> None:
    narrow, wide = (
        Gate(spread=0.1, samples=4, level=LEVEL, bounds=bounds).prompts_needed(0.03)
        for bounds in ((0.0, 0.5), (0.0, 2.0))
    )
    assert MIN_PROMPTS < narrow < wide / 1.5


def test_a_single_completion_takes_more_prompts_than_four() -> None:
    one, four = (Gate(spread=1.0, samples=k, level=LEVEL).prompts_needed(GAIN) for k in (1, 4))
    assert one == pytest.approx(4 * four, rel=0.02)


def test_with_too_few_prompts_nothing_is_seen_and_that_is_told() -> None:
    gate = Gate(spread=0.458, samples=4, level=LEVEL, bounds=(0.0, 1.0))
    assert gate.gain_seen(2) == gate.gain_seen(fewest_prompts(LEVEL) - 1) == math.inf
    told = outlook(gate, 2)
    assert told.startswith(
        "gate: nothing can be promoted with 2 prompts at error 0.00096: 11 are needed; a gain of 0.137 "
    )
    assert "0.3 of the spread within a prompt) needs 1" in told
    assert outlook(gate, 256).startswith("gate: 256 prompts x 4 completions see a gain of 0.0")


def test_a_gain_that_would_take_more_prompts_than_are_looked_at_says_so() -> None:
    gate = Gate(spread=0.001, samples=1, level=LEVEL, bounds=(0.0, 1.0), most=64)
    assert gate.prompts_needed(0.0003) is None
    assert "needs more than 64" in outlook(gate, 16)


def test_a_gain_that_must_exceed_more_takes_more_prompts_and_a_larger_gain() -> None:
    plain, asking = (
        Gate(spread=0.4, samples=4, level=LEVEL, bounds=(0.0, 1.0), min_gain=m) for m in (0, 0.05)
    )
    assert asking.gain_seen(256) == pytest.approx(plain.gain_seen(256) + 0.05, abs=0.01)
    assert asking.prompts_needed(0.12) > 1.5 * plain.prompts_needed(0.12)
    free = Gate(spread=0.4, samples=4, level=LEVEL, min_gain=0.05)
    unasked = Gate(spread=0.4, samples=4, level=LEVEL)
    assert free.gain_seen(567) == pytest.approx(unasked.gain_seen(567) + 0.05, abs=1e-3)


def test_the_fewest_prompts_are_those_with_which_the_largest_gain_there_is_passes() -> None:
    # a bet wins at most 1.95 times its stake: ln(52 / .05) / ln 1.95 = 10.4
    assert fewest_prompts(LEVEL) == 11
    assert Gate(spread=1.0, samples=1, level=LEVEL).fewest == MIN_PROMPTS
    half = Gate(spread=1.0, samples=1, level=LEVEL, bounds=(0.0, 1.0), min_gain=0.5)
    assert 11 < half.fewest < 40
    for num_prompts, none in ((half.fewest - 1, True), (half.fewest, False)):
        assert bool(refusal(half, int(num_prompts))) == none
    assert Gate(spread=1.0, samples=1, level=LEVEL, bounds=(0.0, 1.0), min_gain=1.0).fewest == math.inf
