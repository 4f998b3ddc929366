"""Killed, or out of disk, while a file is made: the old state is whole, and the next attempt works."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_flips import KINDS, PLAN, REPAIRED, Kind

ROOT = Path(__file__).parents[1]
WINDOWS: dict[str, str] = {
    "record": "test_flips.make_record(folder)",
    # what is whole is not written again: others beside it
    "plan": "test_flips.store_plan(folder / 'others', {**test_flips.PLAN, 'key': uuid4().hex}, {})",
    "memo": "DigestMemo(folder).remembered('model m', ['state', 1.5, 'é'], lambda: 'found'), "
    "(folder / 'digests.json').unlink()",
    "judge": "test_flips.endpoint(folder)._keep('0a' * 32, 'good: 7')",
    "reference store": "test_flips.make_shards(folder)",
    "reward store": "test_flips.make_rewards(folder)",
    "checkpoints": "test_flips.make_checkpoints(folder)",
    "best weights": "test_flips.make_best(folder)",
    # marked as unfinished, or no stage would write where an artifact lies
    "training": "((folder / INCOMPLETE).touch(), test_flips.make_training(folder))",
}
"""What is written over and over, by the kind of file in ``test_flips``."""
WRITING = """
import resource, signal, sys
from pathlib import Path
from uuid import uuid4
from copg.artifacts import INCOMPLETE
from copg.errors import disk_mistake
from copg.run.sources import DigestMemo
from tests import test_flips
folder = Path(sys.argv[1])
limit = int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("writing", flush=True)
while True:
    try:
        write
    except Exception as error:
        print(disk_mistake(error) or repr(error), flush=True)
        break
    if limit:
        break
"""


def writing(window: str, folder: Path, limit: int = 0) -> "subprocess.Popen[str]":
    """A process that writes files of a kind, each of ``limit`` bytes at most; 0: of any size, for ever."""
    code = WRITING.replace("        write\n", f"        {WINDOWS[window]}\n")
    command = [sys.executable, "-c", code, str(folder), str(limit)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def begun(window: str, root: Path) -> tuple[Kind, Path, Any]:
    """A folder that holds a kind of file already, and what is read there."""
    kind, folder = KINDS[window], root / "kind"
    folder.mkdir(exist_ok=True)
    kind.make(folder)
    return kind, folder, kind.read(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def restore(folder: Path, old: dict[Path, bytes]) -> None:
    """Leave these files alone there."""
    for path in contents(folder).keys() - old.keys():
        path.unlink()
    for path, data in old.items():
        path.write_bytes(data)


def after(window: str, kind: Kind, folder: Path) -> Any:
    """What is read once a process was killed; an artifact that was being made anew is made again."""
    if window == "training" and not (folder / "manifest.json").exists():
        kind.make(folder)
    return kind.read(folder)


def kill_often(window: str, root: Path, times: int, pause_s: Callable[[], float]) -> None:
    kind, folder, expected = begun(window, root)
    for _ in range(times):
        process = writing(window, folder)
        time.sleep(pause_s())
        assert process.poll() is None, process.communicate()[0]
        process.kill()
        process.wait()
        assert after(window, kind, folder) in (expected, REPAIRED)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("window", WINDOWS)
def test_killed_while_a_file_is_made_the_old_one_is_whole(window: str, tmp_path: Path) -> None:
    rng = random.Random(window)
    kill_often(window, tmp_path, 5, lambda: rng.uniform(0.0, 0.5))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("window", sorted(WINDOWS.keys() - {"training", "memo"}))
def test_a_disk_that_is_full_at_twenty_sizes_is_one_line_and_leaves_the_old_state(
    window: str, tmp_path: Path
) -> None:
    kind, folder, expected = begun(window, tmp_path)
    old = contents(folder)
    largest = max(map(len, old.values()))
    refused = 0
    for number in range(20):
        process = writing(window, folder, max(1, largest * number // 20))
        told = process.communicate(timeout=120)[0].splitlines()
        assert len(told) <= 1, told
        assert not told or "the disk is full; free some of it" in told[0], told
        refused += bool(told)
        now = contents(folder)
        assert kind.read(folder) == expected
        assert old.items() <= now.items(), "a file of the old state is gone, or another"
        assert not [path for path in now if path.suffix == ".part"]
        kind.make(folder)  # a rerun works: it leaves what a first one does
        assert kind.read(folder) == expected
        restore(folder, old)
    assert refused > 0


def test_what_a_killed_writer_left_beside_a_file_is_not_read(tmp_path: Path) -> None:
    kind, folder, expected = begun("plan", tmp_path)
    (path,) = (folder / "plans").glob("[!.]*")
    (folder / "plans" / f".{path.name}.0123456789ab.part").write_text('{"key": ')
    assert expected == PLAN
    path.unlink()
    kind.make(folder)
    assert [each.name for each in (folder / "plans").glob("[!.]*")] == [path.name]
