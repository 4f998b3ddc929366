import contextlib
import json
import resource

import pytest

from copg.config import parse_config
from copg.errors import ConfigError, RewardError
from copg.rewards.contract import RecordFault, RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.sandbox.verdict import NO_VERDICT, NOT_BELIEVED, believed
from copg.rewards.unit_tests import UnitTests
from tests.rewards.sandbox.problems import MBPP, human_eval


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
        (
            {"tests": "assert f() == 1\nreturn 1"},
            "cannot be run: tests: SyntaxError: 'return' outside function",
        ),
        ({"tests": ["assert f() == 1", "break"]}, "cannot be run: tests: SyntaxError: 'break' outside loop"),
        ({"tests": ["import no_such_pkg", "assert f() == 1"]}, "tests: ModuleNotFoundError: .*'no_such_pkg'"),
        ({"tests": "def check(c):\n    import numpy"}, "tests: ModuleNotFoundError: .*'numpy'"),
        ({"tests": ["from math import no_such_name"]}, "tests: ImportError: .*'no_such_name'"),
        ({"tests": ["pass"], "test_setup_code": "import no_such_pkg"}, "setup: ModuleNotFoundError"),
        ({"tests": ["pass"], "test_setup_code": "x = 1 / 0"}, "setup: ZeroDivisionError: division by zero"),
        ({"tests": "pass", "test_setup_code": "raise SystemExit(3)"}, "setup: SystemExit: 3"),
        ({"tests": "def run():\n    assert f() == 1"}, "hold asserts in 'run' alone, which nothing calls"),
        (
            {"tests": "def test_it(tmp_path):\n    assert f() == 1"},
            "'test_it' takes arguments that nothing gives",
        ),
        ({"tests": "def check(c): pass"}, "define check.candidate., and the record names no entry point"),
    ],
)
def test_tests_that_cannot_be_run_are_the_records_fault(reward, row, message) -> None:
    mixture = build_mixture([RewardSpec("unit_tests", params={"num_workers": 1})])
    with pytest.raises(RewardError, match=rf"^d:5: reward 'unit_tests': .*{message}"):
        mixture(["p"], ["def f(): return 1"], [row], sources=["d:5"])


@pytest.mark.parametrize("completion", ["def f(): return 1", "1 / 0", "not python ("])
def test_a_fault_of_the_record_is_found_whatever_the_program(reward, completion) -> None:
    for row in ({"tests": ["import no_such_pkg"]}, {"tests": "pass", "test_setup_code": "1 / 0"}):
        with pytest.raises(RecordFault, match="cannot be run"):
            reward(["p"], [completion], [row])


def test_a_setup_that_fails_for_want_of_the_program_is_the_programs_fault(reward) -> None:
    # the first gives a value that the setup cannot use, the second raises, the third is not there
    programs = ["def f(): return None", "def f(): raise OSError", "x = 1", "def f(): return 'ab'"]
    row = {"tests": ["assert size == 2"], "test_setup_code": "import math\nnothing = 0\nsize = len(f())"}
    assert reward(["p"] * 4, programs, [row] * 4) == [0.0, 0.0, 0.0, 1.0]


def test_functions_for_pytest_are_called(reward) -> None:
    row = {"tests": "def test_one():\n    assert f() == 1\ndef test_type():\n    assert f() > 0"}
    programs = ["def f(): return 1", "def f(): return 2", "def f(): raise OSError"]
    assert reward(["p"] * 3, programs, [row] * 3) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b'{"passed": 1, "total": 2, "failure": "x"}\n', {"passed": 1, "total": 2, "failure": "x"}),
        (b'{"fault": "tests: x"}\n', {"fault": "tests: x"}),
        (b"", NO_VERDICT),
        (b'{"passed": 1, "total": 1}\n{"passed": 1, "total": 1}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": 1, "total": 1}', {"fault": NOT_BELIEVED}),
        (b'{"passed": 3, "total": 2}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": -1, "total": 2}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": 0, "total": 0}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": true, "total": 1}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": 1.0, "total": 1}\n', {"fault": NOT_BELIEVED}),
        (b'{"passed": NaN, "total": 1}\n', {"fault": NOT_BELIEVED}),
        (b"[1, 1]\n", {"fault": NOT_BELIEVED}),
        (b"[" * 60000 + b"\n", {"fault": NOT_BELIEVED}),
        (b"\xff\n", {"fault": NOT_BELIEVED}),
    ],
)
def test_a_verdict_is_one_line_of_two_whole_numbers_or_none(said: bytes, expected: dict) -> None:
    told = believed(said)
    assert b"\n" not in told
    assert json.loads(told) == expected


def test_an_import_that_the_tests_expect_to_fail_is_no_fault(reward) -> None:
    tests = "try:\n    import no_such_pkg\nexcept ImportError:\n    no_such_pkg = None\nassert f() == 1"
    assert reward(["p"], ["def f(): return 1"], [{"tests": tests}]) == [1.0]


@pytest.mark.parametrize("wall", ["namespaces", "landlock"])
def test_installed_packages_can_be_imported_when_that_is_allowed(sandboxes, wall) -> None:
    if wall not in sandboxes:
        pytest.skip(f"this machine has no {wall}")
    made = UnitTests(sandbox=wall, packages=True, num_workers=1)
    row = {"tests": ["import regex, yaml", "assert yaml.safe_load(f()) == [1]"]}
    assert made(["p"], ["import yaml\ndef f(): return yaml.safe_dump([1])"], [row]) == [1.0]


@pytest.mark.parametrize("wall", ["namespaces", "landlock"])
def test_packages_may_lie_under_tmp_which_is_private(sandboxes, wall, tmp_path, monkeypatch) -> None:
    if wall not in sandboxes:
        pytest.skip(f"this machine has no {wall}")
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "mine.py").write_text("ONE = 1\n")
    monkeypatch.setattr("copg.rewards.unit_tests.get_path", lambda _: str(folder))
    made = UnitTests(sandbox=wall, packages=True, num_workers=1)
    row = {"tests": ["assert f() == 1"]}
    assert made(["p"], ["import mine\ndef f(): return mine.ONE"], [row]) == [1.0]


def cpu_s(num_programs: int) -> float:
    """CPU seconds of all helper processes, their own children included, for so many trivial programs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = UnitTests(num_workers=2)
    codes = [f"def f(x): return x + 1  # {n}" for n in range(num_programs)]
    row = {"tests": ["assert f(1) == 2", "assert f(-1) == 0"]}
    assert made(["p"] * num_programs, codes, [row] * num_programs) == [1.0] * num_programs
    made._pool.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_two_cores_run_fifty_trivial_programs_a_second(reward) -> None:
    # 2 cores / 50 a second = 40 ms of CPU each; the clock would measure who else is on the machine
    assert (cpu_s(90) - cpu_s(10)) / 80 < 0.04


def in_a_pod(missing: str, **settings) -> UnitTests:
    """The reward where the kernel refuses what ``missing`` assigns; the walls it has stay as they are."""
    made = UnitTests(num_workers=1, **settings)
    refused = (
        "from copg.rewards.sandbox import jail as j, kernel as k, zygote as z\n"
        f"def refuse(*a): raise PermissionError(1, 'Operation not permitted')\n{missing}\n"
    )
    *command, start = made._pool.command
    made._pool.command = [*command, start.replace("main(", f"{refused}main(")]
    return made


NO_NAMESPACES, NO_LANDLOCK = "k.unshare = refuse", "k.landlock_abi = lambda: 0"
WRITES = (
    "def f():\n    try:\n        open('/tmp/x', 'w').close()\n    except OSError:\n        return False\n"
    "    return True"
)


@pytest.mark.parametrize(
    ("missing", "wall"), [(NO_NAMESPACES, "landlock"), (NO_LANDLOCK, "namespaces"), ("", "namespaces")]
)
def test_a_pod_without_one_kind_of_walls_runs_programs_behind_the_other(sandboxes, missing, wall) -> None:
    if wall not in sandboxes:
        pytest.skip(f"this machine has no {wall}")
    # only in a mount namespace is there room to write
    tests = ["assert f() is False", "assert f() is True"]
    strict = UnitTests(num_workers=1, count="all")
    assert strict(["p"], [WRITES], [{"tests": tests}]) == [0.0]
    passed = [in_a_pod(missing)(["p"], [WRITES], [{"tests": [test]}]) for test in tests]
    assert passed == ([[1.0], [0.0]] if wall == "landlock" else [[0.0], [1.0]])


@pytest.fixture(scope="module")
def sandboxes() -> set[str]:
    """What this machine can build."""
    found = set()
    for kind in ("namespaces", "landlock"):
        with contextlib.suppress(RewardError):
            UnitTests(sandbox=kind, num_workers=1)([""], ["x = 1"], [{"tests": ["pass"]}])
            found.add(kind)
    return found


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            f"{NO_NAMESPACES}\n{NO_LANDLOCK}",
            "namespaces: .*not permitted; landlock: the kernel has none",
        ),
        ("k.filter_system_calls = refuse", "namespaces: .*not permitted; landlock: .*not permitted"),
        ("k.forbid_new_privileges = refuse", "namespaces: .*not permitted; landlock: .*not permitted"),
    ],
)
def test_where_no_wall_can_be_built_nothing_is_run_and_what_the_pod_lacks_is_said(missing, message) -> None:
    with pytest.raises(RewardError, match=rf"no sandbox can be built here \({message}") as refusal:
        in_a_pod(missing)(["p"], ["x = 1"], [{"tests": ["pass"]}])
    assert "allow user namespaces or Landlock and seccomp in the pod's seccomp profile" in str(refusal.value)


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
