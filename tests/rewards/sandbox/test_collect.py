# ruff: noqa: E501 - programs read better in one line
"""Functions for pytest and classes for unittest are run as people mean them."""

import pytest

from copg.errors import RewardError
from copg.rewards.unit_tests import UnitTests
from tests.rewards.sandbox.conftest import verdicts_on

RIGHT, WRONG, NOTHING = "def f(x=1): return x", "def f(x=1): return 2", "x = 1"
CASE = "import unittest\nclass T(unittest.TestCase):\n"


@pytest.fixture(scope="module")
def reward() -> UnitTests:
    made = UnitTests(num_workers=2, timeout_s=5)
    try:
        made([""], ["x = 1"], [{"tests": ["pass"]}])
    except RewardError as error:
        pytest.skip(f"this machine can build no sandbox: {error}")
    return made


@pytest.mark.parametrize(
    ("tests", "right", "wrong", "nothing"),
    [
        # f(1) is 1 for the right program and 2 for the wrong one; "nothing" defines no f
        ("if __name__ == '__main__':\n    assert f() == 1", (1, 1), (0, 1), (0, 1)),
        ("assert f()\ndef test_a():\n    assert f() == 1", (2, 2), (1, 2), (0, 2)),
        ("def test_a():\n    if f() != 1:\n        raise AssertionError", (1, 1), (0, 1), (0, 1)),
        (
            "def test_a():\n    if f() != 1: raise ValueError\ndef test_b():\n    f()\n    assert True",
            (2, 2),
            (1, 2),
            (0, 2),
        ),
        # the first breaks off, and the second is called all the same
        ("def test_a():\n    f().no\n    assert f()\ndef test_b():\n    assert f() == 1", (1, 2), (0, 2), (0, 2)),
        # called by the tests themselves, and then not again: a second call would find two
        ("n = []\ndef test_a():\n    n.append(f())\n    assert n == [1]\ntest_a()", (1, 1), (0, 1), (0, 1)),
        ("def check(c):\n    n.append(c())\n    assert n == [1]\nn = []\ncheck(f)", (1, 1), (0, 1), (0, 1)),
        ("def helper():\n    assert f() == 1\ndef test_a():\n    helper()", (2, 2), (0, 2), (0, 2)),
        ("class TestA:\n    def test_a(self):\n        assert f() == 1", (1, 1), (0, 1), (0, 1)),
        (
            "class TestA:\n    def setup_method(self, method):\n        self.x = f()\n"
            "    def test_a(self):\n        assert self.x == 1\n    def test_b(self):\n        assert f(3) == 3",
            (2, 2),
            (0, 2),
            (0, 2),
        ),
        (CASE + "    def test_a(self):\n        self.assertEqual(f(), 1)\n        self.assertTrue(f())", (2, 2), (1, 2), (0, 2)),
        (CASE + "    def test_a(self):\n        self.assertEqual(f(), 1)\nif __name__ == '__main__':\n    unittest.main()", (1, 1), (0, 1), (0, 1)),
        (
            CASE + "    @classmethod\n    def setUpClass(cls): cls.n = []\n    def setUp(self): self.n.append(1)\n"
            "    def tearDown(self): assert self.n\n    def test_a(self): self.assertEqual(f(len(self.n)), 1)\n"
            "    def test_b(self): self.assertEqual(f(len(self.n)), 2)",
            (3, 3),
            (2, 3),
            (1, 3),
        ),
        (CASE + "    def test_a(self):\n        with self.assertRaises(TypeError):\n            f(1, 2)", (1, 1), (1, 1), (0, 1)),
        (CASE + "    def test_a(self):\n        for i in (1, 2):\n            with self.subTest(i=i):\n                self.assertEqual(f(i), i)", (1, 1), (0, 1), (0, 1)),
        (CASE + "    def test_a(self):\n        if f() != 1: raise ValueError\n    def test_b(self):\n        f()", (2, 2), (1, 2), (0, 2)),
        (
            CASE + "    @unittest.skip('not now')\n    def test_a(self):\n        f()\n    def test_b(self):\n"
            "        self.assertEqual(f(), 1)",
            (1, 1),
            (0, 1),
            (0, 1),
        ),
        (CASE + "    @unittest.skip('not now')\n    def test_a(self):\n        f()", (0, 1), (0, 1), (0, 1)),
        ("try:\n    f(1, 2)\n    assert False\nexcept TypeError:\n    pass", (1, 1), (1, 1), (0, 1)),
        ("assert f() == 1\nimport sys\nsys.exit(0)", (1, 1), (0, 1), (0, 1)),
        ("import sys\nsys.exit(0)\nassert f() == 1", (0, 1), (0, 1), (0, 1)),
        ("assert f()\nraise SystemExit(3)\nassert f() == 1", (1, 2), (1, 2), (0, 2)),
        (["def test_a():\n    assert f() == 1"], (1, 1), (0, 1), (0, 1)),
        (["def test():\n    assert f(1) == 1", "def test():\n    assert f(2) == 2"], (2, 2), (1, 2), (0, 2)),
        (["def test_a():\n    assert f() == 1", "test_a()"], (2, 2), (1, 2), (1, 2)),
        (["def helper(x):\n    assert f() == x", "helper(1)"], (2, 2), (1, 2), (1, 2)),
        ([CASE + "    def test_a(self):\n        self.assertEqual(f(), 1)"], (1, 1), (0, 1), (0, 1)),
        (["try:\n    assert f() == 2\nexcept AssertionError:\n    assert f() == 1"], (1, 1), (1, 1), (0, 1)),
    ],
)  # fmt: skip
def test_what_tests_define_is_called_once_and_counted(reward, tests, right, wrong, nothing) -> None:
    found = verdicts_on([RIGHT, WRONG, NOTHING], tests, reward=reward)
    assert [(v.get("passed"), v.get("total")) for v in found] == [right, wrong, nothing], found


@pytest.mark.parametrize("tests", ["for x in f():\n    assert x > 0", ["for x in f():\n    assert x > 0"]])
def test_a_program_that_comes_to_no_assert_fails(reward, tests) -> None:
    cheats = ["def f(): return []", "def f(): return ()", "def f(): return ''", "def f(): return iter(())"]
    found = verdicts_on([*cheats, "def f(): return [1, 2]"], tests, reward=reward)
    assert [(v["passed"], v["total"]) for v in found] == [(0, 1)] * 4 + [(1, 1)]


def test_check_is_called_beside_functions_and_a_programs_own_check_is_not(reward) -> None:
    both = "def check(c):\n    assert c() == 1\ndef test_a():\n    assert f(2) == 2"
    found = verdicts_on([RIGHT, WRONG], both, reward=reward, entry_point="f")
    assert [(v["passed"], v["total"]) for v in found] == [(2, 2), (1, 2)]
    listed = verdicts_on(
        [RIGHT, WRONG], ["def check(c):\n    assert c() == 1"], reward=reward, entry_point="f"
    )
    assert [v["passed"] for v in listed] == [1, 0]
    (own,) = verdicts_on(["def check(x): return x == 3"], "assert check(3)", reward=reward)
    assert (own["passed"], own["total"]) == (1, 1)
