"""What a line of progress says, by a clock that the test turns."""

import io
import time
from collections.abc import Iterator

import pytest
import rich.progress

from copg.progress import noting_warnings, track, warn, work_of


class Clock:
    """Seconds that pass only when an item is worked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def items(self, number: int, seconds: float) -> Iterator[int]:
        for each in range(number):
            self.now += seconds
            yield each


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_work_that_is_gone_on_with_counts_from_there_and_is_timed_from_here(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    list(track(clock.items(3, seconds=10.0), "copg_0.05", 100, before=90))
    # 10 s after the start: 91 are done, one of them here, in 10 s: 9 are left, 90 s; 20 s later again
    assert lines(capsys) == [
        "copg_0.05: 91 of 100, 90 s left (0.1/s)",
        "copg_0.05: 93 of 100, 70 s left (0.1/s)",
    ]


def test_the_total_of_a_list_holds_what_was_done_before(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in track(range(6, 10), "train", before=6):
        clock.now += 20.0
    assert lines(capsys)[0] == "train: 7 of 10, 60 s left (0.1/s)"  # three steps of 20 s


def test_the_first_of_many_says_nothing_of_the_time_that_the_rest_takes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    # a batch of 256 side by side: the shortest is done after a minute, the rest soon after it
    items = iter([(1, 60.0), (255, 20.0), (768, 240.0)])

    def batches() -> Iterator[int]:
        for number, seconds in items:
            clock.now += seconds
            yield number

    list(track(batches(), "sample", 1024, count=lambda number: number))
    assert lines(capsys) == [
        "sample: 1 of 1024 (0.0/s)",
        "sample: 256 of 1024, 240 s left (3.2/s)",
        "sample: 1024 of 1024, 0 s left (3.2/s)",
    ]


def test_without_a_total_no_time_is_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    list(track(clock.items(1, seconds=4.0), "reading", count=lambda item: 8))
    assert lines(capsys) == ["reading: 8 (2.0/s)"]


def test_a_bar_begins_where_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    bars: list[rich.progress.Progress] = []

    class Progress(rich.progress.Progress):
        def add_task(self, *names: object, **given: object) -> rich.progress.TaskID:
            bars.append(self)
            return super().add_task(*names, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(rich.progress, "Progress", Progress)
    monkeypatch.setattr("sys.stderr", Terminal())
    found = [
        (bars[0].tasks[0].completed, bars[0].tasks[0].total) for _ in track(range(6, 8), "train", before=6)
    ]
    assert found == [(6, 8), (7, 8)]


@pytest.mark.parametrize(
    ("task", "description", "line"),
    [
        ("train-copg_0.05", "copg_0.05", "train-copg_0.05: 1 of 2, 20 s left (0.1/s)"),
        ("evaluate-copg_0.05", "draw", "evaluate-copg_0.05, draw: 1 of 2, 20 s left (0.1/s)"),
        ("validate", "validate (records)", "validate, records: 1 of 2, 20 s left (0.1/s)"),
        ("", "draw", "draw: 1 of 2, 20 s left (0.1/s)"),
    ],
)
def test_a_line_names_the_task_whose_work_it_is(
    task: str, description: str, line: str, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with work_of(task):
        list(track(clock.items(2, seconds=20.0), description, 2))
    assert lines(capsys)[0] == line


def test_a_warning_is_printed_each_time_and_noted_once_by_whoever_is_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with noting_warnings() as outer:
        with noting_warnings() as inner:
            warn("a")
            warn("a")
            assert inner == ["a"]
        warn("b")
    warn("c")
    assert (outer, inner) == (["b"], ["a"])
    assert capsys.readouterr().err == "warning: a\nwarning: a\nwarning: b\nwarning: c\n"
