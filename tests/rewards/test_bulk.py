"""Rewards of what was just drawn: a reward that fails once costs nothing that was generated."""

import pytest

from copg.errors import RewardError
from copg.records import Completion, Group
from copg.rewards.bulk import score_drawn
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import Mixture


class Moody:
    """Characters of each completion; fails on those in ``bad`` as often as it says there."""

    def __init__(self, **bad: int) -> None:
        self.bad = bad
        self.calls: list[list[str]] = []

    def __call__(self, prompts, completions, columns):
        self.calls.append(list(completions))
        for text in completions:
            if self.bad.get(text, 0):
                self.bad[text] -= 1
                raise OSError("no answer")
        for row in columns:
            row.clear()  # its own copy
        return [float(len(text)) for text in completions]


def mixture(reward: Moody) -> Mixture:
    return Mixture([RewardSpec("moody", weight=2.0)], {"moody": reward})


def groups() -> list[Group]:
    texts = [["a", "bb"], ["ccc"], ["dd", "d"]]
    return [
        Group(str(n), f"p{n}", [Completion(t) for t in of_prompt], {"x": 1}, source=f"d:{n}")
        for n, of_prompt in enumerate(texts)
    ]


def test_every_group_gets_its_own_rewards_in_order() -> None:
    given = groups()
    scores = score_drawn(mixture(Moody()), given)
    assert [each.total for each in scores] == [[2.0, 4.0], [6.0], [4.0, 2.0]]
    assert [each.parts for each in scores] == [{"moody": [1.0, 2.0]}, {"moody": [3.0]}, {"moody": [2.0, 1.0]}]
    assert all(group.columns == {"x": 1} for group in given)


def test_a_reward_that_fails_for_a_moment_is_asked_again_for_that_prompt() -> None:
    reward = Moody(ccc=2)
    assert [each.total for each in score_drawn(mixture(reward), groups())] == [[2.0, 4.0], [6.0], [4.0, 2.0]]
    assert reward.calls == [["a", "bb", "ccc", "dd", "d"], ["a", "bb"], ["ccc"], ["ccc"], ["dd", "d"]]


def test_one_that_goes_on_failing_names_the_record() -> None:
    with pytest.raises(RewardError, match="starting at d:1: completion 1: OSError: no answer"):
        score_drawn(mixture(Moody(ccc=9)), groups())


def test_nothing_drawn_is_nothing_scored() -> None:
    assert score_drawn(mixture(Moody()), []) == []


def test_a_completion_is_judged_with_the_columns_of_its_own_record() -> None:
    class Seen(Moody):
        def __call__(self, prompts, completions, columns):
            assert columns == [{"x": 1, "y": 2}, {"x": 3, "y": None, "z": [4]}]
            return [1.0, 2.0]

    own = Completion("b", columns={"x": 3, "y": None, "z": [4]})
    (scores,) = score_drawn(mixture(Seen()), [Group("0", "p", [Completion("a"), own], {"x": 1, "y": 2})])
    assert scores.total == [2.0, 4.0]
