"""Ranks and bounds in place of rewards, and what each prompt is worth, by hand."""

import math

import numpy as np
import pytest

from copg.records import Completion, Group
from copg.training.data import TrainData
from copg.training.transforms import transform_rewards
from copg.training.value import value_prompts


def group(name: str, rewards: list[float], logps: list[float] | None = None) -> Group:
    logps = logps or [-1.0] * len(rewards)
    made = [Completion("", reward=r, token_ids=[1], ref_logps=p) for r, p in zip(rewards, logps, strict=True)]
    return Group(name, "", made, prompt_ids=[0])


def test_ranks_are_the_share_of_others_beaten_in_units_of_the_spread() -> None:
    rewards, firsts = np.array([0.0, 10.0, 9.0, 3.0, 3.0, 8.0]), np.array([0, 3, 5, 6])
    found = transform_rewards(rewards, firsts, "rank")
    # shares 0, 1, .5; tied .5, .5; alone 0: spread within (.5 + 0) / 2 instead of that of 0, 10, 9
    unit = np.std([0, 10, 9], ddof=1) / 0.5
    assert found.tolist() == pytest.approx([0, unit, unit / 2, unit / 2, unit / 2, 0])
    assert transform_rewards(rewards, firsts, "none") is rewards


def test_a_far_reward_is_bounded_by_its_own_prompt() -> None:
    # median 2, absolute deviations 2, 1, 0, 1, 98: median 1. More than half equal: left alone
    rewards, firsts = np.array([0.0, 1.0, 2.0, 3.0, 100.0, 0.0, 0.0, 5.0]), np.array([0, 5, 8])
    found = transform_rewards(rewards, firsts, "clip")
    assert found.tolist() == pytest.approx([0, 1, 2, 3, 2 + 2 * 1.4826, 0, 0, 5])


@pytest.mark.parametrize("transform", ["rank", "clip"])
def test_scale_and_offset_go_through_a_transform(transform) -> None:
    rewards, firsts = np.random.default_rng(0).normal(size=12), np.array([0, 5, 12])
    plain = transform_rewards(rewards, firsts, transform)
    moved = transform_rewards(1e-3 * rewards + 7, firsts, transform)
    for start, end in ((0, 5), (5, 12)):
        assert np.diff(moved[start:end]) == pytest.approx(1e-3 * np.diff(plain[start:end]), rel=1e-6)


def test_what_a_prompt_is_worth_at_a_beta_by_hand() -> None:
    groups = [
        group("far", [0.0, 2.0], [-1.0, -1.0 + math.log(3)]),
        group("tied", [1.0, 1.0]),
        group("near", [0.0, 0.2]),
        group("alone", [5.0]),
    ]
    values = value_prompts(TrainData(groups), beta=2.0)
    assert values.tied.tolist() == [False, True, False, True]
    assert values.contrast.tolist() == pytest.approx([math.sqrt(2), 0, 0.2 / math.sqrt(2), 0])
    share = math.e / (1 + math.e)
    assert values.effective[0] == pytest.approx(1 / (share**2 + (1 - share) ** 2))
    assert values.support.tolist() == pytest.approx([0.75, 1.0, 0.5, 1.0])
    # J* - J_ref = 2 ln((1 + e) / 2) - 1
    assert values.gain[0] == pytest.approx(2 * math.log((1 + math.e) / 2) - 1)
    assert values.best("best_third") == {"far"}
    assert values.best("all") == {"far", "tied", "near", "alone"}
    found = values.metrics()
    assert found["prompts/tied"] == 0.5
    assert found["prompts/gain_of_best_third"] == pytest.approx(values.gain[0] / values.gain.sum())
    assert values.table().num_rows == 4
    order = value_prompts(TrainData(groups), beta=None)
    assert order.gain.tolist() == order.contrast.tolist()
    assert "prompts/gain_of_best_third" not in value_prompts(TrainData(groups[1:2]), 1.0).metrics()


def test_training_data_holds_what_the_transform_makes() -> None:
    data = TrainData([group("a", [0.0, 10.0, 9.0])], "rank")
    assert data.rewards.tolist() == pytest.approx([0, 2 * data.spread, data.spread])
