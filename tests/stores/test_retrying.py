"""Requests are sent again, with pauses, for as long as there is patience."""

import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from copg.stores.retrying import Busy, Retries, retry_after


def failing(*problems: Exception) -> Callable[[], str]:
    """A request that fails as told, then succeeds."""
    left = list(problems)

    def send() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return send


def pauses_of(retries: Retries, *problems: Exception) -> list[float]:
    """The pauses between the attempts of a request that succeeds in the end."""
    slept: list[float] = []
    assert retries(failing(*problems), sleep=slept.append) == "answer"
    return slept


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    assert pauses_of(Retries(first_s=1, longest_s=5), *[Busy("no")] * 5) == [1, 2, 4, 5, 5]
    drawn = pauses_of(Retries(first_s=8, jitter=(0.5, 1)), Busy("no"), Busy("no"))
    assert 4 <= drawn[0] <= 8 <= drawn[1] <= 16


def test_a_pause_that_is_asked_for_is_kept() -> None:
    retries = Retries(first_s=1)
    assert pauses_of(retries, Busy("no", least_s=7)) == [7]
    assert pauses_of(retries, Busy("no", least_s=0.5)) == [1]
    assert pauses_of(retries, Busy("no", least_s=0.5, most_s=0.5)) == [0.5]
    assert pauses_of(retries, Busy("no", most_s=0), Busy("no")) == [0, 2]


def test_the_last_problem_is_told_when_the_attempts_are_used_up() -> None:
    with pytest.raises(Busy, match="second"):
        Retries(first_s=0, attempts=2)(failing(Busy("first"), Busy("second")))


def test_no_pause_begins_that_would_outlast_the_patience() -> None:
    slept: list[float] = []
    with pytest.raises(Busy, match="still away"):
        Retries(first_s=60, patience_s=30)(failing(Busy("still away")), sleep=slept.append)
    assert slept == []
    began = time.monotonic()
    with pytest.raises(Busy):
        Retries(first_s=0.05, patience_s=0.3)(failing(*[Busy("no")] * 9))
    assert time.monotonic() - began < 0.3  # pauses of .05 and .1 s; the third one, .2 s, would be too long


def test_another_error_and_one_from_the_pause_end_it_at_once() -> None:
    with pytest.raises(KeyError):
        Retries(first_s=0)(failing(KeyError("wrong key")))

    def interrupted(_: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Retries(first_s=1)(failing(Busy("no")), sleep=interrupted)


def test_a_pause_may_be_asked_for_by_date() -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert 58 < retry_after(in_a_minute, 1.0) <= 60
    found = [retry_after(asked, 1.0) for asked in (None, "soon", "nan", "inf", "-5", "90")]
    assert found == [1.0, 1.0, 1.0, 1.0, 0.0, 90.0]
