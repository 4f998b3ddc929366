"""Processes that hang, die, swell or speak too much, and the jobs they were given."""

import sys
import time

import pytest

from copg.data.pool import ProcessPool
from copg.errors import RewardError

ECHO = """
import sys, time
print(flush=True)
for line in sys.stdin:
    job = line.strip()
    if job == "hang":
        time.sleep(60)
    if job == "die":
        sys.exit("out of luck")
    if job == "shout":
        sys.stderr.write("!" * 2**20)
    print(job.upper(), flush=True)
"""

DEAF = """
import time
print(flush=True)
time.sleep(60)
"""

SIZES = """
import sys
from copg.data.worker import read_sized, write_sized
write_sized(sys.stdout.buffer, b"")
while (job := read_sized(sys.stdin.buffer)) is not None:
    write_sized(sys.stdout.buffer, job[::-1])
"""


def pool(program: str, *, num_workers: int = 2, timeout_s: float = 1, **settings) -> ProcessPool:
    command = [sys.executable, "-c", program]
    return ProcessPool(
        "echo",
        command,
        num_workers=num_workers,
        timeout_s=timeout_s,
        start_s=20,
        error=RewardError,
        **settings,
    )


def test_a_worker_that_hangs_or_dies_costs_its_own_job_alone() -> None:
    workers = pool(ECHO)
    jobs = [b"a", b"hang", b"b", b"die", b"c", b"d"]
    assert list(workers.map(jobs)) == [b"A", None, b"B", None, b"C", b"D"]
    assert workers.num_lost == 2
    assert list(workers.map([b"e"])) == [b"E"]


def test_what_became_of_a_worker_is_told_with_its_last_words() -> None:
    workers = pool(ECHO, num_workers=1)
    assert list(workers.map([b"die"])) == [None]
    assert workers.last_loss == "ended with exit code 1: out of luck"
    assert list(workers.map([b"hang"])) == [None]
    assert workers.last_loss == "gave no answer in time"


def test_a_worker_that_cannot_start_is_an_error() -> None:
    with pytest.raises(RewardError, match="echo: a helper process did not start within 20 s: it ended with"):
        list(pool("raise SystemExit").map([b"a"]))
    with pytest.raises(RewardError, match="exit code 1: ModuleNotFoundError: No module named 'nothing'"):
        list(pool("import nothing").map([b"a"]))
    with pytest.raises(RewardError, match=r"^echo: no walls here$"):
        list(pool("print('no walls here', flush=True)").map([b"a"]))


def test_a_worker_that_does_not_read_its_job_is_late_too() -> None:
    started = time.monotonic()
    assert list(pool(DEAF, num_workers=1).map([b"x" * 2**22])) == [None]
    assert time.monotonic() - started < 15


def test_a_worker_that_fills_standard_error_goes_on() -> None:
    assert list(pool(ECHO, num_workers=1, timeout_s=20).map([b"shout", b"a"])) == [b"SHOUT", b"A"]


def test_messages_of_any_bytes_and_length_cross_whole() -> None:
    jobs = [b"", b"\n", bytes(range(256)), b"ab" * 2**21]
    assert list(pool(SIZES, sized=True, timeout_s=20).map(jobs)) == [job[::-1] for job in jobs]


def test_no_more_jobs_are_taken_ahead_than_allowed() -> None:
    taken: list[int] = []
    jobs = (taken.append(n) or b"%d" % n for n in range(50))
    with pool(ECHO, timeout_s=20) as workers:
        for done, answer in enumerate(workers.map(jobs, ahead=4)):
            assert answer == b"%d" % done
            assert len(taken) <= done + 5


def test_an_iteration_that_is_given_up_waits_for_nobody_and_leaves_no_process() -> None:
    workers = pool(ECHO, timeout_s=60)
    started = time.monotonic()
    with workers:
        answers = workers.map([b"a", b"hang", b"hang"])
        assert next(answers) == b"A"
        processes = [worker.process for worker in workers._living]
        answers.close()
    assert time.monotonic() - started < 15
    assert processes
    assert all(process.poll() is not None for process in processes)
    assert list(workers.map([b"b"])) == [b"B"]


def test_an_iteration_that_is_given_up_late_disturbs_no_other() -> None:
    workers = pool(ECHO, timeout_s=20)
    given_up = workers.map([b"a"] * 4, ahead=1)
    assert next(given_up) == b"A"
    answers = workers.map([b"b"] * 6, ahead=1)
    assert next(answers) == b"B"
    time.sleep(0.5)  # the first iteration's jobs are done
    given_up.close()
    assert list(answers) == [b"B"] * 5
    assert workers.num_lost == 0
