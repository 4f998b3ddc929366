"""What the gate can see: worked values, and the shapes of what is told."""

import math

import pytest

from copg.evaluation import power
from copg.evaluation.power import GAIN, MIN_PROMPTS, Gate, fewest_prompts, outlook

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
    assert told.startswith("gate: nothing can be promoted with 2 prompts at error 0.00096; a gain of 0.137 ")
    assert "0.3 of the spread within a prompt) needs 1" in told
    assert outlook(gate, 256).startswith("gate: 256 prompts x 4 completions see a gain of 0.0")


def test_a_gain_that_would_take_thousands_of_prompts_says_so(monkeypatch) -> None:
    monkeypatch.setattr(power, "_MOST", 64)
    gate = Gate(spread=0.001, samples=1, level=LEVEL, bounds=(0.0, 1.0))
    assert gate.prompts_needed(0.0003) is None
    assert "needs more than 64" in outlook(gate, 16)
