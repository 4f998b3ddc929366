# ruff: noqa: E501 - programs read better in one line
import ast
import re

import pytest

from copg.rewards.sandbox.link import RecordProblem
from copg.rewards.sandbox.reach import check_reached

HELPER = "def helper():\n    assert f() == 1\n"
CASE = "import unittest\nclass T(unittest.TestCase):\n"


def refused(tests: str | list[str], entry_point: str = "") -> str:
    """Why, or nothing."""
    blocks = [ast.parse(test) for test in ([tests] if isinstance(tests, str) else tests)]
    try:
        check_reached(blocks, entry_point)
    except RecordProblem as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (HELPER, "in 'helper' alone, which nothing calls"),
        (HELPER + "def main():\n    helper()", "in 'helper' alone"),
        (HELPER + "def main():\n    other()\ndef other():\n    main(), helper()", "in 'helper' alone"),
        (HELPER + "f()", "in 'helper' alone"),
        ("if False:\n    assert f() == 1", "hold asserts where nothing comes"),
        ("if 0:\n    def test_a():\n        assert f() == 1", "in 'test_a' alone"),
        ("while None:\n    assert f() == 1", "where nothing comes"),
        ("if True:\n    pass\nelse:\n    assert f() == 1", "where nothing comes"),
        ("if __name__ == 'tests':\n    assert f() == 1", "where nothing comes"),
        ("if __name__ != '__main__':\n    assert f() == 1", "where nothing comes"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    assert f() == 1", "where nothing comes"),
        ("class Other:\n    def test_a(self):\n        assert f() == 1", "in 'Other' alone"),
        ("class TestA:\n    def helper(self):\n        pass\n" + HELPER, "in 'helper' alone"),
        (
            "class TestA:\n    def __init__(self): pass\n    def test_a(self):\n        assert f()",
            "'TestA' alone",
        ),
        (
            CASE.replace("unittest.TestCase", "Other")
            + "    def test_a(self):\n        self.assertTrue(f())",
            "'T'",
        ),
        ("def main():\n    f()", "tests use the program where nothing comes"),
        ("def main():\n    if f() != 1:\n        raise ValueError", "use the program in 'main' alone"),
        (["assert f() == 1", HELPER], "in 'helper' alone"),
        # what nothing gives, and what is not run
        ("def test_a(tmp_path, x=1):\n    assert f() == 1", "'test_a' takes arguments .* gives: tmp_path$"),
        ("def test_a(*, k):\n    assert f() == 1", "gives: k$"),
        ("assert f()\ndef test_a(capsys):\n    assert f() == 1", "'test_a' takes .*: capsys"),
        (
            "class TestA:\n    def test_a(self, capsys):\n        assert f()",
            "'TestA.test_a' takes .*: capsys",
        ),
        (CASE + "    def test_a(self, x):\n        self.assertTrue(f())", "'T.test_a' takes .*: x"),
        (["def test_a(x):\n    assert f() == x"], "'test_a' takes .*: x"),
        ("import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_a(x):\n    assert f() == x", ": x"),
        ("async def test_a():\n    assert f() == 1", "'test_a' is async"),
        ("async def main():\n    assert f() == 1\nimport asyncio\nasyncio.run(main())", "'main' is async"),
        ("import asyncio\nassert asyncio.run(f()) == 1", "asyncio.run, and nothing async is run"),
        (CASE + "    async def test_a(self):\n        f()", "'T.test_a' is async"),
        ("def test_a():\n    yield\n    assert f() == 1", "'test_a' yields"),
        (
            CASE + "    @unittest.expectedFailure\n    def test_a(self):\n        self.assertTrue(f())",
            "to fail",
        ),
        ("def check(candidate):\n    assert candidate() == 1", "record names no entry point"),
        (["def check(candidate):\n    assert candidate() == 1"], "record names no entry point"),
    ],
)
def test_tests_that_can_find_no_fault_with_any_program_are_refused(tests, why) -> None:
    assert re.search(why, refused(tests))


@pytest.mark.parametrize(
    "tests",
    [
        "assert f() == 1",
        "pass",
        "f()",
        "x = f()",
        HELPER + "helper()",
        HELPER + "def main():\n    helper()\nif __name__ == '__main__':\n    main()",
        HELPER + "if '__main__' == __name__:\n    helper()",
        HELPER + "def test_a():\n    helper()",
        HELPER + "run = [helper]\nfor each in run:\n    each()",
        HELPER + "for name in ['helper']:\n    globals()[name]()",
        "@register\n" + HELPER,
        "class Runner:\n    def run(self):\n        assert f() == 1\nRunner().run()",
        "class Base:\n    def test_a(self):\n        assert f() == 1\nclass TestB(Base):\n    pass",
        "class TestA:\n    def test_a(self):\n        self.helper()\n    def helper(self):\n        assert f() == 1",
        CASE + "    def test_a(self):\n        self.assertEqual(f(), 1)",
        CASE.replace("T(", "Base(")
        + "    pass\nclass T(Base):\n    def test_a(self):\n        self.assertTrue(f())",
        "def test_a():\n    if f() != 1:\n        raise AssertionError",
        "for x in f():\n    assert x",
        "if f():\n    assert f() == 1",
        "(lambda: helper())()\n" + HELPER,
        "def test(candidate):\n    assert candidate() == 1\ntest(f)",
        "def check(candidate):\n    assert candidate() == 1\ncheck(f)",
        "from unittest.mock import patch\n@patch('sys.argv')\ndef test_a(argv):\n    assert f() == 1",
        "def g():\n    yield f()\nassert list(g()) == [1]",
        "class A(B): pass\nclass B(A):\n    def test_a(self):\n        assert f() == 1",
        ["def helper(x):\n    assert f() == x", "helper(1)"],
        ["def helper(x):\n    return f() + x", "assert helper(1) == 2"],
    ],
)
def test_tests_that_some_program_fails_are_taken(tests) -> None:
    assert refused(tests) == ""
