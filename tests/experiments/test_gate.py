"""The simulations of the gate with fewer repeats: numbers within their targets, and a broken gate outside."""

import math

import pytest

from experiments.gate import (
    HACKING,
    HONEST,
    bounded_ends,
    false_in_a_life,
    measure,
    promoted_with_five_trials,
    refused_by_guards,
)


def test_in_52_runs_a_null_policy_is_promoted_less_often_than_the_budget_says() -> None:
    # 300 lives: standard error .013 at .05
    assert false_in_a_life(300) <= 0.05 + 0.026


def test_without_a_budget_it_is_seen_to_be_promoted() -> None:
    assert false_in_a_life(100, level=0.025) > 0.1


def test_at_the_printed_number_of_prompts_four_of_five_gains_are_seen_and_no_null_trial_passes() -> None:
    promoted, null = promoted_with_five_trials(40, bounded=False)
    # standard error .063 at .8
    assert promoted >= 0.8 - 2 * math.sqrt(0.16 / 40)
    assert null == 0


def test_runs_that_write_at_length_are_refused_and_honest_ones_are_not() -> None:
    refused, told = refused_by_guards(20, HACKING)
    assert refused == 1.0
    assert told["length ratio"] > 2
    assert 0.55 < told["true reward"] < 0.65
    refused, told = refused_by_guards(20, HONEST)
    assert refused == 0.0
    assert told["true reward"] > 0.9


@pytest.mark.nightly
def test_every_number_is_within_its_target() -> None:
    missed = [check for check in measure(1.0) if not check.holds]
    assert missed == []


def test_every_end_of_bounded_rewards_holds_at_the_level_that_a_promotion_spends() -> None:
    assert all(check.holds for check in bounded_ends(4000, level=0.001))
