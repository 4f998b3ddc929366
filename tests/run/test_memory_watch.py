"""What a task had in use stays in its record when it is killed, and the summary reads it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from copg.run import memory_watch
from copg.run.memory_watch import noting_memory, why_killed
from copg.run.recording import recorded
from copg.run.task_record import record_path

GIB = 2**30
PLAN: dict[str, Any] = {"key": "k", "config": {"rows": {"tokens_per_batch": 8192}}}


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A container of 3 GiB; each look at what is in use takes the next number, and then the last again."""
    looks = [GIB, 2 * GIB, int(2.01 * GIB), int(2.9 * GIB)]
    monkeypatch.setattr(memory_watch, "container_limit", lambda: 3 * GIB)
    monkeypatch.setattr(memory_watch, "in_use", lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    monkeypatch.setattr(memory_watch, "EVERY_S", 0.01)
    return looks


def test_each_new_peak_is_noted(container: list[int]) -> None:
    noted: list[dict[str, Any]] = []
    with noting_memory("train", PLAN["config"], noted.append, every_s=0.01):
        until = time.monotonic() + 5
        while len(noted) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    # 2.01 is less than a twentieth more than 2
    assert [each["peak"] / GIB for each in noted] == pytest.approx([1, 2, 2.9])
    assert noted[-1]["lower"] == ["train.rows.tokens_per_batch=8192"]


def test_a_task_that_is_killed_leaves_its_peak_and_the_record_is_whole(
    container: list[int], tmp_path: Path
) -> None:
    path = record_path(tmp_path, "train", "k")
    with recorded("train", PLAN, str(tmp_path)):
        until = time.monotonic() + 10
        while json.loads(path.read_text())["memory"].get("peak", 0) < 2.8 * GIB and time.monotonic() < until:
            time.sleep(0.01)
        left = json.loads(path.read_text())  # what a killed process would leave
    assert (left["state"], left["stage"]) == ("running", "train")
    assert why_killed("train", left["memory"]) == (
        "killed while it ran, with 2.9 GiB of 3.0 GiB of memory in use: raise "
        "placement.stages.train.memory.limit, or lower train.rows.tokens_per_batch=8192"
    )
    assert json.loads(path.read_text())["memory"] == {}  # it ended well


def test_a_task_that_had_room_was_stopped_from_outside() -> None:
    said = why_killed("score", {"peak": GIB, "limit": 3 * GIB, "lower": []})
    assert said.startswith(
        "killed while it ran, with 1.0 GiB of 3.0 GiB of memory in use: stopped from outside"
    )
    assert why_killed("score", {}) == "killed while it ran: out of memory, or stopped from outside"


def test_a_task_without_memory_ends_with_one_line_and_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, recorded("train", PLAN, str(tmp_path)):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: train: the memory of the card is full")
    assert "lower train.rows.tokens_per_batch=8192" in line
