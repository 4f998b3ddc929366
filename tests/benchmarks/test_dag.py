"""What the benchmark of the DAG reads in the log of ``kfp.local``."""

from pathlib import Path

import pytest

from benchmarks.dag import import_seconds, predicted_idle, read_log

LOG = """\
23:59:58.000 - INFO - Executing task \x1b[96m'train'\x1b[0m
23:59:59.500 - INFO - Executing task \x1b[96m'train-2'\x1b[0m
00:00:01.000 - INFO - Task \x1b[96m'train'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:01.002 - INFO - Task \x1b[96m'train'\x1b[0m outputs:
00:00:03.500 - INFO - Task \x1b[96m'train-2'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:03.501 - INFO - Task \x1b[96m'train-2'\x1b[0m outputs:
"""


def test_two_ends_on_one_line_are_both_counted() -> None:
    lines = LOG.splitlines()
    joined = [*lines[:2], lines[2] + lines[4], lines[3], lines[5]]
    assert read_log(joined)["train"].seconds == pytest.approx(3.0 + 4.0)


def test_an_end_without_a_time_has_that_of_what_comes_next() -> None:
    lines = LOG.splitlines()
    lines[2] = lines[2].partition(" - INFO - ")[2]
    assert read_log(lines)["train"].seconds == pytest.approx(5.5 + 4.0)


def test_an_end_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="train: 2 starts, 1 ends"):
        read_log(LOG.splitlines()[:-2])


def test_tasks_have_one_start_and_one_end_across_midnight() -> None:
    train = read_log(LOG.splitlines())["train"]
    assert (len(train.starts), len(train.ends)) == (2, 2)
    assert train.seconds == pytest.approx(3.0 + 4.0)


PROFILED = """\
00:00:01.000 - INFO - Executing task \x1b[96m'resolve'\x1b[0m
import time: self [us] | cumulative | imported package
import time:       120 |        120 |   zipimport
import time:       300 |        420 | json.tool
[KFP Executor 2026-11-28 15:00:00,000 INFO]: Got executor_input:
import time:        50 |         50 |     wave
import time:        50 |         50 | no_such_module
00:00:02.000 - INFO - Task \x1b[96m'resolve'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
"""


def test_imports_are_read_in_order_and_imported_again_without_the_profiler() -> None:
    resolve = read_log(PROFILED.splitlines())["resolve"]
    assert resolve.runner_modules == ["zipimport", "json.tool"]
    assert resolve.stage_modules == ["wave", "no_such_module"]
    runner, stage = import_seconds(resolve)
    assert 0 < stage < 5
    assert 0 < runner < 5


@pytest.mark.nightly
def test_the_seconds_in_which_no_pod_works_are_told_with_and_without_the_patch(tmp_path: Path) -> None:
    idle = predicted_idle(tmp_path)
    assert 30 < idle["with the patch"] < 0.5 * idle["without"] < 100
