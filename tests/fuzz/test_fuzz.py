"""Whatever is handed to copg is taken whole or refused in a line, in bounded time and memory."""

import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from copg.data.suite import Suite
from copg.errors import CopgError
from tests import test_flips
from tests.fuzz.cases import CASES
from tests.fuzz.models import make_models
from tests.fuzz.record_files import Made
from tests.fuzz.running import bounded, run_case


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Made:
    homes = tmp_path_factory.mktemp("small")
    kinds: dict[str, Any] = {}
    for name, kind in test_flips.KINDS.items():
        (homes / name).mkdir()
        kind.make(homes / name)
        files = {path: path.read_bytes() for path in (homes / name).rglob("*") if path.is_file()}
        if any(".json" in path.suffix for path in files):
            kinds[name] = (kind, kind.read(homes / name), files)
    flips = {"read": test_flips.read, "repaired": test_flips.REPAIRED}
    models = make_models(reference_dir, tmp_path_factory.mktemp("models"))
    return {"homes": homes, "kinds": kinds, "models": models, **flips}


VALIDATED = 20
"""Of ten thousand cases, the files that go through a whole stage."""


def run_cases(count: int, seed: str, folder: Path, made: Made) -> Counter[tuple[str, bool]]:
    """How many cases of each kind were taken, and how many refused."""
    found: Counter[tuple[str, bool]] = Counter()
    for kind, (share, _) in CASES.items():
        for number in range(count * share // 1000):
            told = run_case(kind, f"{seed}/{number}", folder / f"{kind}-{number}", made)
            found[kind, bool(told)] += 1
    assert found.total() == count
    return found


def test_a_thousand_inputs_are_taken_whole_or_refused_in_a_line(tmp_path: Path, made: Made) -> None:
    found = run_cases(1000, "quick", tmp_path, made)
    for kind in (kind for kind, (share, _) in CASES.items() if share):
        assert found[kind, True], kind  # neither side is empty: they are hostile, and not mere noise
        assert found[kind, False], kind


@pytest.mark.nightly
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("tenth", range(10))
def test_a_hundred_thousand_inputs_are_taken_whole_or_refused_in_a_line(
    tenth: int, tmp_path: Path, made: Made
) -> None:
    Suite("what each of them loads", ())
    for number in range(VALIDATED):
        run_case("validated", f"whole {tenth}/{number}", tmp_path / "validated", made)
    run_cases(10_000, f"whole {tenth}", tmp_path, made)


ONCE_BROKEN = [
    *(f"xlines {number}" for number in (1555, 1626, 3480, 3913)),  # a first line that is cut swallowed others
    *(f"lines whole {case}" for case in ("0/1855", "4/211", "4/529", "6/787")),
    "xparquet 620",  # keys that are numbers
    "xparquet 3962",  # a damaged file that says it holds a row, and gives none
]


@pytest.mark.parametrize("seed", ONCE_BROKEN)
def test_what_broke_once_is_taken_whole_or_refused(seed: str, tmp_path: Path) -> None:
    case = CASES[seed.split()[0].removeprefix("x")][1]
    with contextlib.suppress(CopgError):
        case(random.Random(seed), tmp_path, {})


def test_what_a_case_takes_is_counted_from_its_own_beginning() -> None:
    with bounded("before", 2**20):
        bytearray(200 << 20)  # a peak that the next case could hide under
    with pytest.raises(MemoryError, match="next: more than 102400 KiB"), bounded("next", 100 << 10):
        bytearray(150 << 20)


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
