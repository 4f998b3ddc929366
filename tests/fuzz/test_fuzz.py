"""Whatever is handed to copg is taken whole or refused in a line, in bounded time and memory."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import test_flips
from tests.fuzz.cases import CASES, Made
from tests.fuzz.running import run_case

SMALL = ("record", "run", "machine", "memo", "plan", "recipe", "judge", "cache", "training", "evaluation")
"""Kinds of ``test_flips`` whose files are JSON."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Made:
    homes = tmp_path_factory.mktemp("small")
    kinds: dict[str, Any] = {}
    for name in SMALL:
        (homes / name).mkdir()
        kind = test_flips.KINDS[name]
        kind.make(homes / name)
        files = {path: path.read_bytes() for path in sorted((homes / name).rglob("*.json*"))}
        kinds[name] = (kind, kind.read(homes / name), files)
    flips = {"read": test_flips.read, "repaired": test_flips.REPAIRED}
    return {"homes": homes, "kinds": kinds, "model": reference_dir, **flips}


def run_cases(count: int, seed: str, folder: Path, made: Made) -> Counter[tuple[str, bool]]:
    """How many cases of each kind were taken, and how many refused."""
    found: Counter[tuple[str, bool]] = Counter()
    for kind, (share, _) in CASES.items():
        for number in range(count * share // 100):
            told = run_case(kind, f"{seed}/{number}", folder / f"{kind}-{number}", made)
            found[kind, bool(told)] += 1
    assert found.total() == count
    return found


def test_a_thousand_inputs_are_taken_whole_or_refused_in_a_line(tmp_path: Path, made: Made) -> None:
    found = run_cases(1000, "quick", tmp_path, made)
    for kind in CASES:  # neither side is empty: the cases are hostile, and not mere noise
        assert found[kind, True], kind
        assert found[kind, False], kind


@pytest.mark.nightly
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("tenth", range(10))
def test_a_hundred_thousand_inputs_are_taken_whole_or_refused_in_a_line(
    tenth: int, tmp_path: Path, made: Made
) -> None:
    run_cases(10_000, f"whole {tenth}", tmp_path, made)


def test_a_case_that_drops_a_line_or_takes_too_long_is_found(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.running.MOST_S", 0.05)
    monkeypatch.setitem(CASES, "slow", (0, lambda rng, folder, made: sum(1 for _ in range(10**9))))
    with pytest.raises(TimeoutError, match=r"slow 0: more than 0\.05 s"):
        run_case("slow", "0", tmp_path / "slow", made)
    monkeypatch.setattr("copg.data.rows.Lines.rows", lambda self: iter(()))
    with pytest.raises(AssertionError):
        run_case("lines", "0", tmp_path / "lines", made)
