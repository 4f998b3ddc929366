import pytest

from copg.rewards.sandbox.program import program

ADD = "def add(a, b): return a + b if a < 5 else None"


def one(judge, code: str, tests: object, **more) -> tuple[int, int]:
    (verdict,) = judge([code], tests, num_workers=1, **more)
    return verdict["passed"], verdict["total"]


def test_each_member_of_a_list_is_a_test(judge) -> None:
    assert one(judge, ADD, ["assert add(1, 2) == 3", "assert add(7, 2) == 9", "x = add(1, 1)"]) == (2, 3)


def test_each_assert_of_a_block_is_a_test_and_a_loop_is_one(judge) -> None:
    block = (
        "assert add(1, 2) == 3\nfor n in range(9):\n    assert add(n, 1) == n + 1\nassert add(2, 2) == 4\n"
    )
    assert one(judge, ADD, block + "assert True") == (2, 3)


def test_a_block_that_breaks_off_fails_what_it_did_not_reach(judge) -> None:
    block = "assert add(1, 2) == 3\nadd(1, 2).nothing\nassert add(1, 1) == 2\nassert add(0, 0) == 0"
    assert one(judge, ADD, block) == (1, 3)
    assert one(judge, ADD, "add(1, 2).nothing") == (0, 1)
    assert one(judge, ADD, "add(1, 2)") == (1, 1)


def test_check_is_called_with_the_entry_point(judge) -> None:
    check = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(8, 1) == 9\n"
    assert one(judge, ADD, check, entry_point="add") == (1, 2)
    assert one(judge, ADD, check, entry_point="sub") == (0, 2)
    (verdict,) = judge([ADD], check)
    assert "names no entry point" in verdict["fault"]


@pytest.mark.parametrize("tests", [["assert (("], "def check(c:\n", ["assert add(1, 2) == 3", "\x00"]])
def test_tests_that_are_no_python_are_the_records_fault(judge, tests) -> None:
    (verdict,) = judge([ADD], tests)
    assert "Error" in verdict["fault"]


def test_a_program_that_does_not_load_fails_all_its_tests_with_the_reason(judge) -> None:
    for code, reason in (
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("import nothing_here", "ModuleNotFound"),
    ):
        (verdict,) = judge([code], ["assert add(1, 2) == 3", "assert True"])
        assert (verdict["passed"], verdict["total"]) == (0, 2)
        assert verdict["failure"].startswith(reason)


def test_exceptions_keep_their_class(judge) -> None:
    code = (
        "class Own(Exception): pass\ndef f(k):\n    if k == 'own': raise Own('o')\n"
        "    raise {'v': ValueError, 'k': KeyError, 'u': UnicodeDecodeError}[k]('text')\n"
    )
    tests = [
        "try:\n    f('v')\nexcept ValueError as e:\n    assert str(e) == 'text'",
        "try:\n    f('k')\nexcept KeyError:\n    pass",
        "try:\n    f('own')\nexcept RuntimeError as e:\n    assert 'Own' in str(e)",
    ]
    assert one(judge, code, tests) == (3, 3)


def test_functions_of_the_tests_can_be_passed_in_and_call_back_out(judge) -> None:
    code = "def f(g, x): return [g(v) for v in x]\ndef h(): return 5\n"
    tests = ["assert f(lambda v: v + 1, [1, 2]) == [2, 3]", "assert f(lambda v: h() + v, [1]) == [6]"]
    assert one(judge, code, tests) == (2, 2)


def test_a_name_the_program_may_not_answer_for_is_pythons_own(judge) -> None:
    code = "def len(x): return 99\nclass math:\n    pi = 3\ndef f(): return [1]\n"
    assert one(judge, code, ["assert len(f()) == 1", "assert math.pi > 3.1"]) == (2, 2)


FENCED = "Here it is:\n```python\ndef f():\n    return 1\n```\nand some more\n```\nf()\n```"
PROMPT = 'from typing import List\n\n\ndef f(x: List[int]) -> int:\n    """Doc."""\n'


def test_the_program_is_the_first_fenced_block_else_all_of_it() -> None:
    assert program("Write f.", FENCED, "") == "def f():\n    return 1\n"
    assert program("Write f.", "def f():\n    return 1", "") == "def f():\n    return 1"
    assert program("Write f.", "```\nx = 1\r\n```", "") == "x = 1\r\n"


def test_a_body_goes_on_from_the_prompt_and_a_whole_function_gets_its_imports() -> None:
    assert program(PROMPT, "    return 1\n", "f") == PROMPT + "    return 1\n"
    assert program(PROMPT, "def f(x: List[int]):\n    return 1\n", "f") == (
        "from typing import List\n\n\n\ndef f(x: List[int]):\n    return 1\n"
    )
    in_chat = f"Please complete:\n```python\n{PROMPT}```"
    assert program(in_chat, "    return 1\n", "f") == PROMPT + "    return 1\n"
    # without an entry point, only what makes sense together is put together
    assert program(PROMPT, "    return 1\n", "") == PROMPT + "    return 1\n"
