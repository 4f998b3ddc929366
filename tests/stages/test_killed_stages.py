"""A stage that is killed, or whose disk is full, leaves nothing that a rerun could take for whole."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import MANIFEST, is_sealed, json_value
from copg.stages.table import EVERY
from tests import evaluations, tiny
from tests.stages.killing import WORK, Forks

KILLED = -9
MOMENTS = 20
MOST_WRITES = 40
"""At which a stage is killed one after the other; of more, a sample."""
SIZES = 20
"""Of the disk, from nothing to all but a twentieth of what a stage writes."""


def digests(out: Path) -> dict[str, str]:
    """What the artifacts of a folder hold that are whole, by their names."""
    sealed = [path for path in out.glob(f"*/{MANIFEST}") if is_sealed(path.parent)]
    return {path.parent.name: json_value(path.read_bytes())["digest"] for path in sealed}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as found:
        yield found


def lay_out(given: Path) -> Path:
    """Records and models that the first stages take."""
    given.mkdir()
    tiny.write_records(given / "records.jsonl", 32, 3, rewarded=True)
    tiny.save_model(given / "model")
    tiny.save_drawing_model(given / "drawer")
    return given


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """What every stage takes: each is run once, in the order of the table."""
    home = lay_out(tmp_path_factory.mktemp("stages") / "given")
    for stage in EVERY:
        code, lines, _ = forks.run(stage, home, home)
        assert (code, lines) == (0, []), stage
    return home


def whole(forks: Forks, stage: str, given: Path, out: Path) -> tuple[dict[str, str], int, float]:
    """What a stage leaves that nobody disturbs, its writes and its seconds; the folder is empty again."""
    out.mkdir()
    began = time.monotonic()
    code, lines, writes = forks.run(stage, given, out)
    lasted_s = time.monotonic() - began
    assert (code, lines) == (0, [])
    found = digests(out)
    assert found
    shutil.rmtree(out)
    return found, writes, lasted_s


def rerun(forks: Forks, stage: str, given: Path, out: Path) -> dict[str, str]:
    code, lines, _ = forks.run(stage, given, out)
    assert (code, lines) == (0, [])
    return digests(out)


def kill(
    forks: Forks, stage: str, given: Path, out: Path, expected: dict[str, str], series: list[dict[str, Any]]
) -> list[tuple[int, int]]:
    """Kill a stage, once or again and again, and see that a rerun then gives what a whole run does.

    A stage that left all of its artifacts whole begins anew, as a run does not run it again.

    Returns:
        How each attempt ended, and how many writes it began.
    """
    out.mkdir()
    ended = []
    for each in series:
        if digests(out) == expected:
            shutil.rmtree(out)
            out.mkdir()
        ended.append(forks.run(stage, given, out, **each)[::2])
    if digests(out) != expected:
        assert rerun(forks, stage, given, out) == expected, f"killed {series}"
    shutil.rmtree(out)
    return ended


def kill_at_writes(forks: Forks, stage: str, given: Path, out: Path, most: int) -> int:
    """How often a stage was killed, each time at another of its writes, and gave the same afterwards."""
    expected, writes, _ = whole(forks, stage, given, out)
    places = sorted(random.Random(stage).sample(range(1, writes + 1), min(most, writes)))
    for place in places:
        assert kill(forks, stage, given, out, expected, [{"at_write": place}]) == [(KILLED, place)]
    return len(places)


def test_every_stage_of_the_table_is_killed_here() -> None:
    assert list(WORK) == sorted(WORK, key=EVERY.index)
    assert set(WORK) == set(EVERY)


def test_a_report_killed_at_some_of_its_writes_is_the_same(forks: Forks, tmp_path: Path) -> None:
    (home := tmp_path / "given").mkdir()
    groups = evaluations.make_groups(home / "groups", 4)
    for made in (evaluations.Made("reference"), replace(evaluations.SWEEP[0], name="copg_0.1")):
        evaluations.make_evaluation(home / f"evaluation-{made.name}", made, groups, 4)
    evaluations.make_training(home / "training", evaluations.SWEEP[0], steps=2)
    assert kill_at_writes(forks, "report", home, tmp_path / "out", 3) == 3


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_killed_at_any_write_gives_the_same(
    stage: str, forks: Forks, given: Path, tmp_path: Path
) -> None:
    assert kill_at_writes(forks, stage, given, tmp_path / "out", MOST_WRITES) > 0


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_killed_again_and_again_at_random_moments_gives_the_same(
    stage: str, forks: Forks, given: Path, tmp_path: Path
) -> None:
    rng = random.Random(stage)
    expected, _, lasted_s = whole(forks, stage, given, tmp_path / "out")
    moments = [{"after_s": rng.uniform(0.0, lasted_s)} for _ in range(MOMENTS)]
    ended = {code for code, _ in kill(forks, stage, given, tmp_path / "out", expected, moments)}
    assert {KILLED} <= ended <= {KILLED, 0}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, whose size ``resize`` sets; skipped where none can be mounted."""
    out = tmp_path / "out"
    out.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(out)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {made.stderr.strip()}")
    try:
        yield out
    finally:
        subprocess.run(["umount", str(out)], check=True)


def resize(disk: Path, num_bytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={num_bytes}", str(disk)], check=True)


def empty(disk: Path) -> None:
    for each in disk.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", EVERY)
def test_on_a_disk_that_fills_a_stage_ends_in_a_line_and_goes_on_once_there_is_space(
    stage: str, forks: Forks, given: Path, disk: Path
) -> None:
    expected = rerun(forks, stage, given, disk)
    largest = shutil.disk_usage(disk).used
    refused = 0
    for number in range(SIZES):
        empty(disk)
        resize(disk, max(4096, largest * number // SIZES))
        code, lines, _ = forks.run(stage, given, disk)
        if code == 0:  # sizes are rounded up to pages: of a few pages, the last size may hold all
            assert digests(disk) == expected
            continue
        refused += 1
        assert len(lines) == 1, lines
        assert "the disk is full; free some of it" in lines[0]
        assert not [name for name, digest in digests(disk).items() if digest != expected[name]]
        resize(disk, 256 * 2**20)
        assert rerun(forks, stage, given, disk) == expected
    assert refused >= SIZES - 2, refused
