"""What the benchmark of the DAG reads in the log of ``kfp.local``."""

import pytest

from benchmarks.dag import read_log

LOG = """\
23:59:58.000 - INFO - Executing task \x1b[96m'train'\x1b[0m
23:59:59.500 - INFO - Executing task \x1b[96m'train-2'\x1b[0m
00:00:01.000 - INFO - Task \x1b[96m'train'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:01.002 - INFO - Task \x1b[96m'train'\x1b[0m outputs:
00:00:03.500 - INFO - Task \x1b[96m'train-2'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:03.501 - INFO - Task \x1b[96m'train-2'\x1b[0m outputs:
"""


def test_tasks_have_one_start_and_one_end_across_midnight() -> None:
    train = read_log(LOG.splitlines())["train"]
    assert (len(train.starts), len(train.ends)) == (2, 2)
    assert train.seconds == pytest.approx(3.0 + 4.0)
