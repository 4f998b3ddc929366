"""What a run drew for itself, and how often it came: the draws that a ladder of betas is about."""

import math

import pytest

from copg.records import Completion
from copg.rewards.drawn import Draws, note_draw, times_drawn
from copg.rewards.predicting import build_ladder

ABOUT = {"engine": "own", "sample": 0}


def test_a_completion_is_counted_at_each_draw_and_keeps_what_its_first_says() -> None:
    drawn, logged = Completion("a"), Completion("b", columns={"user": "u"})
    for sample in range(3):
        note_draw(drawn, {**ABOUT, "sample": sample})
    assert drawn.columns == {"drawn": {"engine": "own", "sample": 0, "times": 3}}
    assert (times_drawn(drawn), times_drawn(logged)) == (3, 0)
    note_draw(logged, ABOUT)
    assert logged.columns == {"user": "u", "drawn": {**ABOUT, "times": 1}}


@pytest.mark.parametrize("own", [True, "yes", {"by": "me"}, {"times": True}, {"times": "2"}, None])
def test_a_column_of_a_users_that_is_called_so_is_no_draw(own: object) -> None:
    completion = Completion("a", columns={"drawn": own})
    assert times_drawn(completion) == 0
    note_draw(completion, ABOUT)
    assert times_drawn(completion) == 1


def test_rewards_of_draws_count_as_often_as_they_came_and_those_that_were_logged_do_not() -> None:
    def drawn(reward: float, times: int) -> Completion:
        return Completion("", reward=reward, columns={"drawn": {**ABOUT, "times": times}})

    draws = Draws()
    assert (draws.most, next(iter(draws.by_prompt())).tolist()) == (0, [])
    draws.add([Completion("", reward=9.0), drawn(0.0, 3), drawn(1.0, 1)])
    draws.add([Completion("", reward=9.0)])
    draws.add([drawn(2.0, 2), Completion("", columns={"drawn": {"times": 4}})])  # without a reward
    assert [rewards.tolist() for rewards in draws.by_prompt()] == [[0, 0, 0, 1], [], [2, 2]]
    assert draws.most == 4
    # the best is one draw of four in the first prompt, all of two in the last: (ln 4 + 0) / 2 nats
    assert build_ladder(draws.by_prompt(), base="reference").support == pytest.approx(math.log(4) / 2)
