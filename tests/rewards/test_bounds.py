"""Between which values rewards lie: worked out by hand."""

import math

from copg.rewards import REWARDS
from copg.rewards.bounds import OF_OURS, bounds_of_parts
from copg.rewards.contract import Condition, RewardSpec, Scale
from copg.rewards.judge import Judge
from copg.rewards.length import Length


def bounds(*specs: RewardSpec, rewards=None, scales=None):
    return bounds_of_parts(specs, rewards or {}, scales or {})


def test_a_sum_lies_between_the_sums_of_the_ends() -> None:
    # 2 * [0, 1] + -1 * [-1, 1] = [-1, 3]
    found = bounds(RewardSpec("rouge", weight=2.0), RewardSpec("similarity", weight=-1.0))
    assert found == {"rouge": (0.0, 1.0), "similarity": (-1.0, 1.0), "reward": (-1.0, 3.0)}


def test_a_part_without_bounds_leaves_the_sum_without_any_unless_it_is_clipped_or_only_watched() -> None:
    rouge, learned = RewardSpec("rouge"), RewardSpec("reward_model")
    assert bounds(rouge, learned) == {"rouge": (0.0, 1.0)}
    assert bounds(rouge, RewardSpec("reward_model", weight=0.0))["reward"] == (0.0, 1.0)
    # [0, 1] + .5 * [-3, 3]
    assert bounds(rouge, RewardSpec("reward_model", weight=0.5, clip=(-3.0, 3.0)))["reward"] == (-1.5, 2.5)


def test_standardised_values_are_moved_before_they_are_clipped_and_a_condition_may_give_another() -> None:
    # ([0, 1] - .5) / .25 = [-2, 2], of which [-1, 2] counts; elsewhere -4
    passing = Condition(part="valid", otherwise=-4.0, at_least=1)
    spec = RewardSpec("rouge", standardise=True, clip=(-1.0, 9.0), only_if=passing)
    assert bounds(spec, scales={"rouge": Scale(0.5, 0.25)})["reward"] == (-4.0, 2.0)


def test_settings_say_more_of_a_judge_of_lengths_and_of_users_own() -> None:
    scale = {"judge": Judge(url="http://j", model="m", rubric="r", scale=(1.0, 5.0))}
    assert bounds(RewardSpec("judge"), rewards=scale)["reward"] == (1.0, 5.0)
    length = {"length": Length(max=10)}
    assert bounds(RewardSpec("length"), rewards=length) == {}
    assert bounds(RewardSpec("length", clip=(-0.2, 0.0)), rewards=length)["reward"] == (-0.2, 0.0)

    class Own:
        bounds = (0, 5)

    assert bounds(RewardSpec("m:f", label="own"), rewards={"own": Own()})["reward"] == (0.0, 5.0)
    assert bounds(RewardSpec("m:f", label="own"), rewards={"own": math.sin}) == {}


def test_the_table_names_rewards_that_there_are() -> None:
    assert OF_OURS.keys() <= REWARDS.keys()
