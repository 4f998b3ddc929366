"""Boxes, letters and times of answers, which are read without mathematics."""

import pytest

from copg.rewards.answer_worker import compare, last_box, read_letter, read_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{a} \boxed{b", "a"),
        (r"\boxed{1", None),
        ("1", None),
    ],
)
def test_the_last_box_that_is_closed_counts(text: str, expected: str | None) -> None:
    assert last_box(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{B}", "B"),
        (r"\boxed{\text{(C)}}", "C"),
        ("The answer is (D).", "D"),
        ("Answer: **B**", "B"),
        ("A) x\nB) y\n\nC", "C"),
        ("I think (A), no: (B)", "B"),
        ("the answer is A. But finally the answer is C", "C"),
        (r"the answer is A \boxed{12}", None),
        ("Answer: Because", None),
        ("A cat sat", None),
        ("", None),
    ],
)
def test_the_letter_that_was_chosen_last(text: str, expected: str | None) -> None:
    assert read_letter(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 3:45 PM", (15, 45, 0)),
        ("15:45", (15, 45, 0)),
        ("12:05 am", (0, 5, 0)),
        ("3:45 p.m.", (15, 45, 0)),
        ("9:05:30", (9, 5, 30)),
        (r"\boxed{7:30}, not 8:00", (7, 30, 0)),
        ("no time", None),
    ],
)
def test_the_last_time_of_day(text: str, expected: tuple[int, int, int] | None) -> None:
    assert read_time(text) == expected


@pytest.mark.parametrize(
    ("gold", "completion", "expected"),
    [
        ("B", r"\boxed{B}", "1"),
        ("(b)".upper(), "the answer is A", "0"),
        ("work #### C", "(C)", "1"),
        ("3:45 PM", "it is 15:45", "1"),
        ("3:45", "it is 4:45", "0"),
        ("A", "", "0"),
    ],
)
def test_letters_and_times_are_compared_by_what_they_mean(gold: str, completion: str, expected: str) -> None:
    assert compare(gold, completion) == expected
