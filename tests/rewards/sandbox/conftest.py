import json
from collections.abc import Callable

import pytest

from copg.errors import RewardError
from copg.rewards.unit_tests import UnitTests


@pytest.fixture(params=["namespaces", "landlock"])
def sandbox(request) -> str:
    """Each kind of walls this machine can build."""
    try:
        list(UnitTests(sandbox=request.param, num_workers=1)._pool.map([json.dumps(JOB).encode()]))
    except RewardError as error:
        pytest.skip(f"this machine cannot build the walls: {error}")
    return request.param


JOB = {"prompt": "", "completion": "", "tests": ["pass"], "setup": "", "entry_point": ""}
Verdict = Callable[..., list[dict]]


def verdicts_on(
    codes: list[str], tests: object, *, reward: UnitTests | None = None, **settings: object
) -> list[dict]:
    """The whole verdict on each program, not only its reward."""
    more = {key: settings.pop(key) for key in ("entry_point", "setup") if key in settings}
    reward = reward or UnitTests(**settings)
    jobs = [json.dumps({**JOB, "completion": code, "tests": tests, **more}).encode() for code in codes]
    return [json.loads(answer) for answer in reward._pool.map(jobs)]


@pytest.fixture
def judge(sandbox) -> Verdict:
    """``verdicts_on`` behind one kind of walls; equal settings share their processes."""
    made: dict[tuple[float, int], UnitTests] = {}

    def run(
        codes: list[str], tests: object, *, timeout_s: float = 10, num_workers: int = 4, **more: str
    ) -> list[dict]:
        if (timeout_s, num_workers) not in made:
            made[timeout_s, num_workers] = UnitTests(
                sandbox=sandbox, timeout_s=timeout_s, num_workers=num_workers
            )
        return verdicts_on(codes, tests, reward=made[timeout_s, num_workers], **more)

    return run
