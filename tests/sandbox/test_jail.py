"""What a program can and cannot see, beyond what attacks ask."""

import re

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


def test_time_memory_and_threads_are_limited_and_the_tests_before_still_count(judge) -> None:
    code = "def f(n):\n    while n: pass\n    return n\n"
    (verdict,) = judge([code], ["assert f(0) == 0", "assert f(1) == 1", "assert f(0) == 0"], timeout_s=2)
    # the second test never ends; the program is ended, and the third finds nobody
    assert (verdict["passed"], verdict["total"]) == (1, 3)
    assert re.match("Gone", verdict["failure"])


def test_sets_of_texts_come_in_the_same_order_in_every_process(judge) -> None:
    code = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
    orders = {judge([code], [f"assert f() == {o}"], num_workers=1)[0]["passed"] for o in [["x"]]}
    assert orders == {0}
    spread = judge([code] * 8, ["assert False, f()"], num_workers=4)
    assert len({verdict["failure"] for verdict in spread}) == 1
