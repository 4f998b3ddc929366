import pytest

from copg.config import parse_config
from copg.errors import ConfigError, RewardError
from copg.rewards import RewardSpec, build_mixture
from copg.rewards.unit_tests import UnitTests
from tests.sandbox.problems import MBPP, human_eval


@pytest.fixture(scope="module")
def reward() -> UnitTests:
    made = UnitTests(num_workers=2)
    try:
        made([""], ["x = 1"], [{"tests": ["pass"]}])
    except RewardError as error:
        pytest.skip(f"this machine can build no sandbox: {error}")
    return made


def test_right_solutions_of_both_shapes_score_one_and_wrong_ones_do_not(reward) -> None:
    assert len(human_eval()) + len(MBPP) >= 30
    prompts, completions, columns, right = [], [], [], []
    for prompt, tests, entry, good, bad in human_eval():
        for text in (good, f"Sure!\n```python\n{prompt}{good}```", bad, f"```\n{prompt}{bad}\n```"):
            prompts.append(prompt)
            completions.append(text)
            columns.append({"tests": tests, "entry_point": entry})
            right.append(text != bad and good in text)
    for prompt, setup, tests, good, bad in MBPP:
        for text in (good, f"```python\n{good}\n```\nDone.", bad):
            prompts.append(prompt)
            completions.append(text)
            columns.append({"tests": tests, "test_setup_code": setup})
            right.append(good in text)
    found = reward(prompts, completions, columns)
    wrong = [c for c, value, ok in zip(completions, found, right, strict=True) if (value == 1.0) != ok]
    assert wrong == []
    strict = UnitTests(count="all", num_workers=2)(prompts, completions, columns)
    assert strict == [float(ok) for ok in right]


def test_the_fraction_is_that_of_the_tests_passed(reward) -> None:
    code = "def f(x): return x if x < 3 else 0"
    tests = [f"assert f({n}) == {n}" for n in range(4)]
    assert reward(["p"], [code], [{"tests": tests}]) == [0.75]
    assert UnitTests(count="all", num_workers=1)(["p"], [code], [{"tests": tests}]) == [0.0]


def test_a_chat_is_read_from_its_last_message(reward) -> None:
    prompt, tests, entry, good, _ = human_eval()[0]
    chat = [{"role": "system", "content": "Code."}, {"role": "user", "content": f"```python\n{prompt}```"}]
    assert reward([chat], [good], [{"tests": tests, "entry_point": entry}]) == [1.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "column 'tests' is missing"),
        ({"tests": []}, r"must hold a block or a list of tests, found \[\]"),
        ({"tests": " "}, "must hold a block or a list of tests"),
        ({"tests": [1]}, "must hold a block or a list of tests"),
        ({"tests": ["assert f( == 1"]}, r"column 'tests' cannot be run: tests: SyntaxError: .*"),
        ({"tests": ["pass"], "test_setup_code": "x ="}, "cannot be run: setup: SyntaxError"),
        ({"tests": ["pass"], "test_setup_code": 3}, "column 'test_setup_code' must hold text, found 3"),
        ({"tests": "def check(c): pass"}, "define check.candidate., and the record names no entry point"),
    ],
)
def test_tests_that_cannot_be_run_are_the_records_fault(reward, row, message) -> None:
    mixture = build_mixture([RewardSpec("unit_tests", params={"num_workers": 1})])
    with pytest.raises(RewardError, match=rf"^d:5: reward 'unit_tests': .*{message}"):
        mixture(["p"], ["def f(): return 1"], [row], sources=["d:5"])


def test_where_no_wall_can_be_built_nothing_is_run(monkeypatch) -> None:
    made = UnitTests(num_workers=1)
    made._workers.command = [*made._workers.command[:-1], made._workers.command[-1].replace(
        "main(", "import copg.sandbox.kernel as k\n"
        "def refuse(*a): raise PermissionError(1, 'Operation not permitted')\n"
        "k.unshare = refuse; k.landlock_abi = lambda: 0\nmain(")]  # fmt: skip
    with pytest.raises(
        RewardError, match=r"no sandbox can be built here \(namespaces: .*not permitted; landlock: "
    ):
        made(["p"], ["x = 1"], [{"tests": ["pass"]}])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"timeout_s": 0}, "must be > 0"),
        ({"memory_mib": 1}, ">= 128"),
        ({"sandbox": "none"}, "sandbox='none'"),
    ],
)
def test_wrong_settings_are_refused(params, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(UnitTests, params, where="unit_tests")
