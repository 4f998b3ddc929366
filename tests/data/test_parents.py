"""A process ends with the one that it works for, also where that one was killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from copg.data.parents import describe_process, is_gone

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def within_s(limit_s: float, what: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + limit_s
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def start(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_is_gone_once_it_ended_or_its_number_means_another() -> None:
    me = describe_process()
    assert me["pid"] == os.getpid()
    assert not is_gone(me)
    assert is_gone({**me, "started": me["started"] - 1})
    assert not is_gone({**me, "started": 1, "where": "another machine"})  # nobody here can say
    assert not is_gone({})
    other = subprocess.Popen(["sleep", "60"])
    described = describe_process(other.pid)
    assert not is_gone(described)
    other.kill()
    assert within_s(5, lambda: is_gone(described))  # also while nobody has waited for it
    other.wait()
    assert is_gone(described)


WATCHING = """
import signal, sys, time
from copg.data.parents import describe_process, end_with
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(143)))
end_with(describe_process(int(input_pid)), every_s=0.05)
print("watching", flush=True)
time.sleep(60)
"""


def test_a_process_is_asked_to_end_when_the_one_that_it_watches_is_killed() -> None:
    watched = subprocess.Popen(["sleep", "60"])
    watching = start(WATCHING.replace("input_pid", str(watched.pid)))
    assert watching.stdout.readline() == "watching\n"
    watched.kill()
    watched.wait()
    out, error = watching.communicate(timeout=30)
    assert (out, watching.returncode) == ("saved\n", 143)
    assert error == f"process {watched.pid} is gone, for which this one works: it ends\n"


STUBBORN = """
import signal, time
from copg.data.parents import describe_process, end_with
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end_with(describe_process(int(input_pid)), every_s=0.05, grace_s=0.2)
print("watching", flush=True)
time.sleep(60)
"""


def test_one_that_does_not_end_when_asked_is_killed() -> None:
    watched = subprocess.Popen(["sleep", "60"])
    watching = start(STUBBORN.replace("input_pid", str(watched.pid)))
    assert watching.stdout.readline() == "watching\n"
    watched.kill()
    watched.wait()
    assert watching.wait(timeout=30) == -signal.SIGKILL


WORKER = """
import os, sys, time
from copg.data.parents import die_with_parent
die_with_parent()
print(flush=True)
for line in sys.stdin:
    os.write(2, b"%d\\n" % os.getpid())
    open(line.strip(), "w").write(str(os.getpid()))
    time.sleep(120)  # hangs
"""
ASKING = """
import sys
from copg.data.pool import ProcessPool
from copg.errors import RecordError
options = {"num_workers": 2, "timeout_s": 100, "start_s": 60, "error": RecordError}
pool = ProcessPool("test", [sys.executable, "-c", worker_code], **options)
list(pool.map([b"folder/a", b"folder/b"]))
"""


def test_workers_that_hang_are_killed_with_the_process_that_asked(tmp_path: Path) -> None:
    asking = start(ASKING.replace("worker_code", repr(WORKER)).replace("folder", str(tmp_path)))
    files = [tmp_path / "a", tmp_path / "b"]
    assert within_s(60, lambda: all(each.exists() and each.read_text() for each in files))
    workers = [describe_process(int(each.read_text())) for each in files]
    assert not any(map(is_gone, workers))
    asking.kill()
    asking.wait()
    assert within_s(10, lambda: all(map(is_gone, workers)))


ANSWERS = """
import sys
from copg.data.pool import ProcessPool
from copg.errors import RecordError
worker = "import os, sys\\nfrom copg.data.parents import die_with_parent\\n"
worker += "die_with_parent()\\nprint(flush=True)\\nfor line in sys.stdin: print(os.getpid(), flush=True)"
options = {"num_workers": 1, "timeout_s": 100, "start_s": 60, "error": RecordError}
pool = ProcessPool("test", [sys.executable, "-c", worker], **options)
print(len({answer for _ in range(3) for answer in pool.map([b"x"])}))
"""


def test_a_worker_outlives_the_call_that_started_it() -> None:
    asking = start(ANSWERS)
    assert asking.communicate(timeout=60)[0] == "1\n"


@pytest.mark.parametrize("module", ["copg.data.portions", "copg.rewards.answer_worker"])
def test_every_worker_of_ours_asks_for_it(module: str) -> None:
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    assert "    die_with_parent()\n" in path.read_text()
    assert "kernel.die_with_parent()" in (ROOT / "copg/rewards/sandbox/zygote.py").read_text()
