"""Records whose tests attack leave the rewards of the records beside them as they are."""

import json

import pytest

from copg.rewards.contract import RecordFault
from copg.rewards.sandbox.verdict import NO_VERDICT
from copg.rewards.unit_tests import UnitTests
from tests.rewards.sandbox.conftest import JOB, verdicts_on
from tests.rewards.sandbox.hostile import ATTACKS
from tests.rewards.sandbox.hostile_records import QUICK, SLOW
from tests.rewards.sandbox.test_hostile import host

__all__ = ["host"]

RIGHT = "def add(a, b): return a + b"
# two of three, which no forged verdict says; larger than a pipe holds, so that its job comes in parts
INNOCENT = ["assert add(1, 2) == 3", "assert add(1, 1) == 3", f"assert add(0, 0) == 0  # {'x' * 200_000}"]
TELLING = ("two verdicts and the end", "nothing ever blocks", "everything closed", "exit", "interrupt")
VERDICT = {"passed": 2, "total": 3, "failure": "AssertionError: "}


def reward_of(reward: UnitTests, tests: object) -> float | None:
    """Of the right program; None where the record is at fault."""
    try:
        return reward(["p"], [RIGHT], [{"tests": tests}])[0]
    except RecordFault:
        return None


def before_and_after(reward: UnitTests, hostile: dict[str, object]) -> list[str]:
    """Those beside which the innocent record was judged otherwise, on the one worker there is."""
    assert reward.num_workers == 1
    harmed = [] if reward_of(reward, INNOCENT) == 2 / 3 else ["the start"]
    for name, tests in hostile.items():
        reward_of(reward, tests)
        if reward_of(reward, INNOCENT) != 2 / 3:
            harmed.append(name)
    return harmed


def test_no_record_touches_the_reward_of_the_one_before_or_after_it() -> None:
    reward = UnitTests(num_workers=1, timeout_s=1)
    assert before_and_after(reward, {name: QUICK[name] for name in TELLING}) == []
    assert reward._pool.num_lost == 0
    # in one batch, where jobs wait while others run
    batch = [test for name in TELLING[:4] for test in (INNOCENT, QUICK[name])]
    jobs = [json.dumps({**JOB, "completion": RIGHT, "tests": tests}).encode() for tests in batch]
    assert [json.loads(verdict) for verdict in reward._pool.map(jobs)][::2] == [VERDICT] * 4


@pytest.mark.nightly
def test_none_of_all_that_attack_does(sandbox) -> None:
    assert len(QUICK) + len(SLOW) >= 45
    reward = UnitTests(sandbox=sandbox, num_workers=1, timeout_s=2)
    assert before_and_after(reward, QUICK) == []
    assert reward._pool.num_lost == 0


def test_a_record_whose_tests_hang_fails_alone_and_is_told() -> None:
    reward = UnitTests(num_workers=1, timeout_s=0.3)
    assert reward_of(reward, INNOCENT) == 2 / 3
    assert reward.warnings() == []
    assert before_and_after(reward, {"a loop": SLOW["a loop"]}) == []
    assert reward._pool.num_lost == 0
    (told,) = reward.warnings()
    assert told.startswith("tests of 1 completions ended without a verdict: they exited, or ran out of time")
    assert verdicts_on([RIGHT], SLOW["a loop"], reward=reward) == [NO_VERDICT]


@pytest.mark.nightly
def test_none_that_takes_all_its_time_does(sandbox) -> None:
    reward = UnitTests(sandbox=sandbox, num_workers=1, timeout_s=0.5)
    assert before_and_after(reward, SLOW) == []
    assert reward._pool.num_lost == 0


@pytest.mark.nightly
def test_no_attack_succeeds_from_the_side_of_the_tests(judge, host) -> None:
    scored = []
    for name, body in ATTACKS.items():
        tests = body.format(**host) + "\nassert attack()"
        (verdict,) = judge([RIGHT], tests, timeout_s=2, num_workers=1)
        scored += [name] * bool(verdict.get("passed"))
    assert scored == []
