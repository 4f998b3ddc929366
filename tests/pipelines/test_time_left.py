"""How far a run is and how long it takes yet, by a clock of the test."""

from typing import Any

import pytest
from copg_pipelines.time_left import Standing, Work, duration, read_line, standing

from copg.run.task_record import TaskRecord

TRIALS = ["copg_1", "copg_2", "copg_3"]


def task(stage: str, trial: str = "") -> dict[str, Any]:
    name = f"{stage}-{trial}" if trial else stage
    return {"task": name, "stage": stage, "key": f"key of {name}", "loop": "trials" if trial else None}


TASKS = [task("score"), *(task("train", trial) for trial in TRIALS), task("report")]


def done(name: str, seconds: float, *, before: bool = False) -> TaskRecord:
    key = "of another day" if before else f"key of {name}"
    stage = name.partition("-")[0]
    return TaskRecord(stage=stage, task=name, key=key, state="succeeded", seconds=seconds)


def test_of_a_first_run_nothing_is_told_before_a_task_is_known() -> None:
    now = standing(TASKS, [done("score", 5.0)], {"train-copg_1": 100.0}, {}, now=110.0, at_once=2)
    assert now == Standing(1, 5, None, at_least=True)
    assert str(now) == "1 of 5 tasks"


def test_a_task_is_believed_until_one_of_its_kind_has_ended() -> None:
    running, works = {"train-copg_1": 100.0}, {"train-copg_1": Work(10, 40, ends=170.0)}
    now = standing(TASKS, [done("score", 5.0)], running, works, now=110.0, at_once=2)
    # 60 s of the one that says so, in a loop of three of which the others are not known
    assert (now.left_s, now.at_least) == (60.0, True)
    assert str(now) == "1 of 5 tasks, over 60 s left"


def test_trials_take_as_long_as_the_first_did_two_at_a_time() -> None:
    records = [done("score", 5.0), done("train-copg_1", 60.0), done("report", 4.0, before=True)]
    now = standing(TASKS, records, {"train-copg_2": 100.0}, {}, now=130.0, at_once=2)
    # the second has 30 s of its 60 left, the third 60, two at once: 60 s; then a report of 4 s
    assert (now.done, now.left_s, now.at_least) == (2, 64.0, False)
    assert str(now) == "2 of 5 tasks, about 64 s left"


def test_what_an_earlier_run_did_is_done_unless_it_runs_again() -> None:
    records = [done(each["task"], 10.0) for each in TASKS]
    assert standing(TASKS, records, {}, {}, now=0.0, at_once=2) == Standing(5, 5, None)
    again = standing(TASKS, records, {"report": 0.0}, {}, now=4.0, at_once=2)
    assert (again.done, again.left_s) == (4, 6.0)


def test_of_a_task_that_takes_longer_than_expected_only_its_own_word_is_told() -> None:
    records = [done(each["task"], 10.0) for each in TASKS]
    late = standing(TASKS, records, {"report": 0.0}, {}, now=400.0, at_once=2)
    assert str(late) == "4 of 5 tasks"
    said = standing(TASKS, records, {"report": 0.0}, {"report": Work(1, 2, 430.0)}, now=400.0, at_once=2)
    assert (said.left_s, said.at_least) == (30.0, False)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("    train-copg_1: 46 of 111, 25 s left (2.6/s)", ("train-copg_1", Work(46, 111, 1025.0))),
        (
            "copg_1: 46 of 111, 25 s left (2.6/s)",
            ("train-copg_1", Work(46, 111, 1025.0)),
        ),  # of a process of it
        ("score, train: 5 of 8, 1 s left (2.2/s)", ("score", Work(5, 8, 1001.0))),
        ("draw: 5 of 8, 1 s left (2.2/s)", None),
        ("copg_9: 5 of 8, 1 s left (2.2/s)", None),
        ("score: 46 (2.6/s)", None),
        ("", None),
    ],
)
def test_a_line_of_the_log_is_of_the_task_that_it_names(line: str, found: Any) -> None:
    assert read_line(line, ["score", "train-copg_1"], 1000.0) == found


def test_seconds_in_words() -> None:
    assert [duration(s) for s in (0.2, 40.4, 99, 100, 3540, 6000)] == [
        "1 s",
        "40 s",
        "99 s",
        "2 min",
        "59 min",
        "1 h 40 min",
    ]
