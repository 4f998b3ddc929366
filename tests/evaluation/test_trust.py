"""A reward model has to know more than a coin and than length: in words, and as a condition of the gate."""

from pathlib import Path

import pytest

from copg.artifacts import begin, seal
from copg.evaluation.trust import Learnt, find_learnt, read_learnt
from copg.rewards.contract import RewardSpec

GOOD = {
    **{"accuracy/mean": 0.9, "accuracy/low": 0.8, "accuracy/high": 0.95, "length_accuracy/mean": 0.6},
    **{"over_length/mean": 0.3, "over_length/low": 0.1, "over_length/high": 0.5},
}


def model(folder: Path, metrics: dict[str, float] = GOOD, schema: str = "reward_model") -> Path:
    begin(folder)
    facts = {"learns": "pairs", "metrics": metrics, "warnings": []}
    seal(folder, schema=schema, stage="reward", rows=1, config={}, parents={}, facts=facts)
    return folder


@pytest.mark.parametrize(
    ("changes", "rival"),
    [
        ({}, ""),
        ({"accuracy/low": 0.5}, "a coin"),
        ({"over_length/low": 0.0}, "length"),
        # better than the mean of length alone, and yet not surely on the same prompts
        ({"accuracy/low": 0.7, "over_length/low": -0.01}, "length"),
        # and the other way round: prompts in common show what two intervals side by side would hide
        ({"accuracy/low": 0.55, "length_accuracy/mean": 0.6, "over_length/low": 0.01}, ""),
    ],
)
def test_a_reward_model_has_to_be_surely_better_than_a_coin_and_than_length(changes, rival) -> None:
    assert Learnt("m", "pairs", {**GOOD, **changes}).rival == rival


def test_one_that_was_trained_before_is_held_against_the_mean_of_length() -> None:
    before = {name: value for name, value in GOOD.items() if not name.startswith("over_length")}
    assert Learnt("m", "pairs", before).rival == ""
    assert Learnt("m", "pairs", {**before, "accuracy/low": 0.6}).rival == "length"


def test_the_condition_says_how_well_it_does_and_which_setting_lets_it_pass() -> None:
    assert Learnt("m", "pairs", GOOD).condition() == (
        "reward model m: held-out accuracy 0.90 (0.80 to 0.95), by length alone 0.60, is surely better than "
        "a coin and than length",
        True,
    )
    told, holds = Learnt("m", "pairs", {**GOOD, "accuracy/low": 0.4}).condition()
    assert not holds
    assert told.endswith(
        "cannot be told from a coin, so what it judges may be noise; promote.guards.learnt_reward: false "
        "promotes all the same"
    )


def test_reward_models_that_count_and_were_trained_here_are_found_and_no_others(tmp_path: Path) -> None:
    here, other = model(tmp_path / "here"), model(tmp_path / "other", schema="policy")
    (tmp_path / "plain").mkdir()
    specs = [
        RewardSpec("reward_model", params={"model": str(here)}, label="learnt"),
        RewardSpec("reward_model", params={"model": str(here)}, label="watched", weight=0.0),
        RewardSpec("reward_model", params={"model": str(other)}, label="policy"),
        RewardSpec("reward_model", params={"model": str(tmp_path / "plain")}, label="of a hub"),
        RewardSpec("judge", params={"model": "owner/name"}),
        RewardSpec("length", params={"max": 1}),
    ]
    (found,) = find_learnt(specs)
    assert found == Learnt("learnt", "pairs", GOOD)
    assert read_learnt({"learnt": [{"part": "learnt", "learns": "pairs", "metrics": GOOD}]}) == [found]
    assert read_learnt({}) == []
