"""What a program can and cannot see, beyond what attacks ask."""

import re
import subprocess
import sys
from pathlib import Path

LOOK = "import os, socket, sys, time\ndef look(): return {expression}\n"


def look(judge, expression: str, expected: str, **more) -> dict:
    (verdict,) = judge([LOOK.format(expression=expression)], [f"assert look() {expected}"], **more)
    return verdict


def test_a_program_sees_no_environment_and_an_empty_private_tmp(judge, sandbox) -> None:
    assert look(judge, "dict(os.environ)", "== {}")["passed"] == 1
    if sandbox == "namespaces":
        assert look(judge, "(os.getcwd(), os.listdir('/tmp'))", "== ('/tmp', [])")["passed"] == 1
        assert (
            look(judge, "sorted(os.listdir('/dev'))", "== ['null', 'random', 'urandom', 'zero']")["passed"]
            == 1
        )
        assert look(judge, "os.getpid()", "== 1")["passed"] == 1
        read_only = (
            "[bool(os.statvfs(p).f_flag & os.ST_RDONLY) for p in ('/', os.__file__, '/dev/null', '/tmp')]"
        )
        assert look(judge, read_only, "== [True, True, True, False]")["passed"] == 1
        assert look(judge, "os.path.exists('/proc/1')", "is False")["passed"] == 1


def test_what_one_program_leaves_the_next_does_not_find(judge, sandbox) -> None:
    leave = "open('/tmp/left', 'w').write('x')\ndef look(): return 1\n"
    find = "import os\ndef look(): return os.path.exists('/tmp/left')\n"
    verdicts = judge([leave, find], ["assert look() is False"], num_workers=1)
    assert verdicts[1]["passed"] == 1
    wrote = judge([leave], ["assert look() == 1"], num_workers=1)[0]["passed"]
    assert wrote == (1 if sandbox == "namespaces" else 0)  # Landlock alone gives no room to write


def test_one_open_descriptor_of_each_kind_is_all_there_is(judge) -> None:
    # three standard ones to /dev/null, and the two ends that lead to the tests
    code = (
        "import os\ndef look():\n    found = []\n    for fd in range(64):\n        try: os.fstat(fd)\n"
        "        except OSError: continue\n        found.append(fd)\n    return len(found)\n"
    )
    assert judge([code], ["assert look() == 5"])[0]["passed"] == 1


def test_threads_and_the_library_work(judge) -> None:
    code = (
        "import concurrent.futures, sqlite3, random, decimal\n"
        "def look():\n    with concurrent.futures.ThreadPoolExecutor(4) as pool:\n"
        "        return sum(pool.map(lambda x: x * x, range(10)))\n"
    )
    assert judge([code], ["assert look() == 285"])[0] == {"passed": 1, "total": 1, "failure": ""}


def test_time_is_limited_and_the_tests_before_still_count(judge) -> None:
    code = "def f(n):\n    while n: pass\n    return n\n"
    (verdict,) = judge([code], ["assert f(0) == 0", "assert f(1) == 1", "assert f(0) == 0"], timeout_s=2)
    # the second test never ends; the program is ended, and the third finds nobody
    assert (verdict["passed"], verdict["total"]) == (1, 3)
    assert re.match("Gone", verdict["failure"])


def test_memory_is_limited_and_a_program_that_goes_on_is_judged(judge) -> None:
    # 256 MiB fit into the 512 there are, 1 GiB does not
    tests = ["assert f(256) == 256", "assert f(1024) == 1024", "assert f(1) == 1"]
    (verdict,) = judge(["def f(mib): return len(bytearray(mib << 20)) >> 20"], tests)
    assert (verdict["passed"], verdict["total"]) == (2, 3)
    assert verdict["failure"].startswith("MemoryError")


THREADS = """
import resource, threading
threading.stack_size(32768)
def start(count):
    end = threading.Event()
    try:
        for _ in range(count): threading.Thread(target=end.wait).start()
    finally:
        end.set()
    return count
def limit(): return resource.getrlimit(resource.RLIMIT_NPROC)
"""


def test_threads_are_limited_however_small_their_stacks(judge, sandbox) -> None:
    if sandbox == "namespaces":
        (verdict,) = judge([THREADS], ["assert limit() == (64, 64)", "start(32)", "start(200)"])
        assert (verdict["passed"], verdict["failure"]) == (2, "RuntimeError: can't start new thread")
        return
    # the kernel counts the user's threads on the whole machine, and none of root's: only the limit is sure
    total = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    (verdict,) = judge([THREADS], [f"assert 64 < limit()[1] < {total} + 64 + 200", "start(32)"])
    assert (verdict["passed"], verdict["failure"]) == (2, "")


def test_commands_of_fcntl_that_programs_need_work(judge) -> None:
    code = (
        "import fcntl as f, os\ndef look():\n    end, _ = os.pipe()\n"
        "    f.fcntl(end, f.F_SETFL, f.fcntl(end, f.F_GETFL) | os.O_NONBLOCK)\n"
        "    other = f.fcntl(end, f.F_DUPFD_CLOEXEC, 0)\n    f.fcntl(other, f.F_SETFD, 0)\n"
        "    f.lockf(open('/dev/null', 'rb'), f.LOCK_SH)\n    third = f.fcntl(end, f.F_DUPFD, 0)\n"
        "    return [os.get_blocking(other), os.get_inheritable(other), third > other]\n"
    )
    assert judge([code], ["assert look() == [False, True, True]"])[0]["failure"] == ""


LETTERS = "list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"


def test_sets_of_texts_come_in_the_same_order_in_every_process(judge) -> None:
    shown = [sys.executable, "-c", f"print({LETTERS})"]
    order = subprocess.run(shown, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True)
    spread = judge([f"def f(): return {LETTERS}"] * 8, [f"assert f() == {order.stdout}"], num_workers=4)
    assert [verdict["passed"] for verdict in spread] == [1] * 8
