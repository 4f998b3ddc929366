"""Several processes write one store, some of them are killed: nothing that was confirmed is lost or torn."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from copg.stores.completion_store import Drawn, open_completions, read_drawn
from copg.stores.reference_store import Numerics, completion_key, open_references
from copg.stores.reward_store import open_rewards
from copg.stores.values import ValueStore

ROOT = Path(__file__).parents[2]
NUMERICS = Numerics("weights", "float32", "float32")
ROWS = 50
WRITE = """
import sys
from pathlib import Path
from tests.stores.test_writers import batch, drawn, open_all
writer, count = int(sys.argv[2]), int(sys.argv[3])
references, rewards, completions = open_all(Path(sys.argv[1]))
for number in range(count):
    keys, values = batch(writer, number)
    references.append(keys, values, [2] * len(keys), ["cpu"] * len(keys), [""] * len(keys))
    rewards.append(keys, values)
    texts, ends, lengths = zip(*((each.text, each.finished, each.num_tokens) for each in map(drawn, keys)))
    completions.append(keys, values, texts, ends, lengths)
    for store in (references, rewards, completions):
        store.flush()
    print(number, flush=True)
"""


def batch(writer: int, number: int) -> tuple[list[bytes], list[float]]:
    """Keys of one batch, of which half are those of every writer's, and the only values they can have."""
    mine = [completion_key([writer, number], [row]) for row in range(ROWS // 2)]
    everyones = [completion_key([number], [row]) for row in range(ROWS // 2)]
    keys = mine + everyones
    return keys, [-float(int.from_bytes(key[:4], "little")) for key in keys]


def drawn(key: bytes) -> Drawn:
    """The only completion that a key can have."""
    return Drawn(f"red cat {key.hex()}", key[0] < 128, key[1] + 1)


def open_all(folder: Path) -> tuple[ValueStore, ValueStore, ValueStore]:
    return (
        open_references(str(folder / "references"), NUMERICS),
        open_rewards(str(folder / "rewards"), "d" * 20, rows_per_shard=ROWS),
        open_completions(str(folder / "completions"), {"engine": "own", "temperature": 1.0}),
    )


def start(folder: Path, writer: int, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE, str(folder), str(writer), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def confirmed(process: "subprocess.Popen[str]") -> int:
    """How many batches a writer says that it wrote, from here to its end."""
    assert process.stdout is not None
    with process.stdout:
        count = len(process.stdout.readlines())
    process.wait()
    return count


def write_together(folder: Path, *, writers: int, kill: int, count: int) -> None:
    rng = random.Random(0)
    processes = [start(folder, writer, count) for writer in range(writers)]
    for process in processes[:kill]:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"  # it is at work
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
    done = [confirmed(process) + (writer < kill) for writer, process in enumerate(processes)]
    assert [process.returncode for process in processes[kill:]] == [0] * (writers - kill)
    assert done[kill:] == [count] * (writers - kill)
    *stores, completions = open_all(folder)
    written = [batch(writer, number) for writer, batches in enumerate(done) for number in range(batches)]
    confirmed_keys = {key for keys, _ in written for key in keys}
    whole = [batch(writer, number) for writer in range(writers) for number in range(count)]
    promised = {key: value for keys, values in whole for key, value in zip(keys, values, strict=True)}
    for store in (*stores, completions):
        found = store.lookup(list(promised))
        assert found.items() <= promised.items(), "a value is torn"
        assert confirmed_keys <= found.keys(), "a confirmed batch is lost"
        if store is completions:
            assert read_drawn(store, list(promised)) == {key: drawn(key) for key in found}, "one is torn"
        counts = store.verify()
        assert (counts["not_finite"], counts["contradictions"]) == (0, 0)


def test_what_writers_confirmed_is_there_though_one_was_killed(tmp_path: Path) -> None:
    write_together(tmp_path, writers=3, kill=1, count=4)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_of_eight_writers_half_are_killed_and_nothing_is_lost_or_torn(tmp_path: Path) -> None:
    for _ in range(5):
        write_together(tmp_path, writers=8, kill=4, count=40)
