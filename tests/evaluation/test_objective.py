"""J = E[R] - beta KL, worked out by hand."""

import math

import numpy as np
import pytest

from copg.evaluation.objective import Objective, measure_objective, own_beta, pick_beta, worth
from copg.records import Estimate, Evaluation

REWARDS = {"a": [1.0, 3.0], "b": [2.0], "only mine": [9.0]}
KLS = {"a": [1.0, 3.0], "b": [4.0], "only mine": [0.0]}
REFERENCE = {"a": [1.0], "b": [1.0, 2.0], "only theirs": [7.0]}


def made(name: str, method: str, beta: float, reward: float, kl: float, **more) -> Evaluation:
    at = {key: Estimate(value, value, value) for key, value in (("reward", reward), ("kl", kl))}
    return Evaluation(
        name, "gate", 9, **at, length=at["kl"], finished_fraction=1.0, method=method, beta=beta, **more
    )


def test_j_is_reward_less_the_price_of_the_way_on_the_prompts_of_both() -> None:
    # a: 1 - .5 * 1 and 3 - .5 * 3: mean 1; b: 2 - .5 * 4 = 0. The reference: 1 and 1.5
    found = measure_objective(REWARDS, KLS, REFERENCE, beta=0.5, predicted=0.5)
    assert found is not None
    assert found.value.mean == pytest.approx(0.5)
    assert found.gain.mean == pytest.approx((0 - 1.5) / 2)
    assert found.share is not None
    assert found.share.mean == pytest.approx(-1.5)
    assert found.below_reference == (found.gain.high < 0)
    assert worth([[1.0, 3.0], [2.0]], [[1.0, 3.0], [4.0]], 0.5).mean == pytest.approx(0.5)


def test_what_cannot_be_measured_is_none_and_without_a_prediction_there_is_no_share() -> None:
    assert measure_objective({"a": [1.0]}, {"a": [0.0]}, {"a": [1.0]}, beta=1.0) is None
    assert measure_objective({**REWARDS, "b": [math.nan]}, KLS, REFERENCE, beta=1.0) is None
    for predicted in (None, math.nan, 0.0):
        found = measure_objective(REWARDS, KLS, REFERENCE, beta=1.0, predicted=predicted)
        assert found is not None
        assert found.share is None


def test_a_policy_that_goes_far_for_little_is_surely_below_the_reference() -> None:
    prompts = [str(i) for i in range(40)]
    rewards = {p: [0.6 + 0.01 * i % 7] for i, p in enumerate(prompts)}
    kls, reference = {p: [2.0] for p in prompts}, {p: [0.5 + 0.01 * i % 7] for i, p in enumerate(prompts)}
    dear, cheap = (measure_objective(rewards, kls, reference, beta=beta) for beta in (0.3, 0.01))
    assert dear is not None
    assert cheap is not None
    assert (dear.below_reference, cheap.below_reference) == (True, False)  # .1 - .6, .1 - .02


def test_the_beta_of_a_run_is_that_of_the_copg_trial_nearest_the_chosen_one() -> None:
    trials = [
        made("a", "copg", 1.0, 0.5, 0.2),
        made("b", "copg", 0.1, 0.6, 2.0),
        made("c", "ipo", 0.05, 0.9, 1.2),
        made("d", "copg", 0.001, 0.1, 1.2, diverged=True),
        made("e", "dpo", 0.3, 0.9, 0.4),
    ]
    assert pick_beta(trials, trials[0]) == 1.0
    assert pick_beta(trials, trials[2]) == 0.1
    assert pick_beta(trials, trials[4]) == 1.0
    assert pick_beta(trials, None) == 0.1, "that which earns most"
    assert pick_beta(trials[2:], trials[2]) is None
    assert [own_beta(trial) for trial in trials] == [1.0, 0.1, None, 0.001, None]
    assert own_beta(made("x", "pg_value", 0.3, 0, 0)) == 0.3


def test_prompts_of_a_document_count_as_one_in_j_and_its_gain() -> None:
    # 12 documents; as 4 prompts each, all alike, they are no more than 12
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=12) for name in ("reward", "kl", "reference")}

    def measured(copies: int, clusters: bool) -> Objective:
        prompts = [(f"d{i}", f"d{i} p{k}") for i in range(12) for k in range(copies)]
        rewards, kls, theirs = (
            {p: [float(of[int(d[1:])])] for d, p in prompts} for of in (values[name] for name in values)
        )
        documents = {p: d for d, p in prompts} if clusters else None
        found = measure_objective(rewards, kls, theirs, beta=0.5, predicted=1.0, clusters=documents)
        assert found is not None
        return found

    once, together, apart = measured(1, False), measured(4, True), measured(4, False)
    assert together.value.low == pytest.approx(once.value.low)
    assert together.gain.high == pytest.approx(once.gain.high)
    assert apart.gain.high < once.gain.high
    one = dict.fromkeys(REWARDS, "the only document")
    assert measure_objective(REWARDS, KLS, REFERENCE, beta=0.5, clusters=one) is None
