"""The reference store: what it keeps, refuses and survives."""

import multiprocessing
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from copg.cli.stores import store_app
from copg.errors import StoreError
from copg.stores.reference_store import REFERENCES, Numerics, completion_key, open_references
from copg.stores.values import ValueStore, find_stores

NUMERICS = Numerics("weights", "float32", "float32")
KEYS = [completion_key([1, 2], [3, i]) for i in range(6)]


def open_store(root: Path) -> ValueStore:
    return open_references(str(root), NUMERICS)


def add(store: ValueStore, keys: list[bytes], ref_logps: list[float], num_tokens: list[int]) -> None:
    store.append(keys, ref_logps, num_tokens, ["cpu"] * len(keys), [""] * len(keys))


def test_a_stored_value_is_found_and_no_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.lookup(KEYS) == {}
    add(store, KEYS[:2], [-1.5, -2.5], [2, 2])
    add(store, KEYS[2:3], [-3.5], [2])
    assert open_store(tmp_path).lookup(KEYS) == {KEYS[0]: -1.5, KEYS[1]: -2.5, KEYS[2]: -3.5}


def test_where_the_prompt_ends_is_part_of_the_key() -> None:
    assert completion_key([1, 2], [3]) != completion_key([1], [2, 3])
    assert completion_key([1, 2], [3]) == completion_key((1, 2), (3,))


@pytest.mark.parametrize(
    "other",
    [
        Numerics("other weights", "float32", "float32"),
        Numerics("weights", "bfloat16", "float32"),
        Numerics("weights", "float32", "bfloat16"),
        Numerics("weights", "float32", "float32", version=NUMERICS.version + 1),
    ],
)
def test_other_weights_or_precision_find_nothing(tmp_path: Path, other: Numerics) -> None:
    add(open_store(tmp_path), KEYS, [-1.0] * 6, [2] * 6)
    assert open_references(str(tmp_path), other).lookup(KEYS) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_and_nothing_is_stored(tmp_path: Path, value: float) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreError, match="is not finite; 1 of 2 are refused"):
        add(store, KEYS[:2], [-1.0, value], [2, 2])
    assert store.shards.paths() == []


def write_some(root: str, worker: int) -> None:
    store = open_references(root, NUMERICS)
    for i in range(20):
        add(store, [completion_key([worker], [i])], [-float(i)], [1])


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_some, args=(str(tmp_path), w)) for w in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    keys = {completion_key([w], [i]): -float(i) for w in range(3) for i in range(20)}
    store = open_store(tmp_path)
    assert store.lookup(list(keys)) == keys
    assert not list(tmp_path.rglob("*.part"))


def test_compact_keeps_one_row_a_key_and_verify_finds_contradictions(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    add(store, KEYS[:3], [-1.0, -2.0, -3.0], [2, 2, 2])
    add(store, KEYS[2:4], [-3.0, -4.0], [2, 2])
    assert store.verify(1e-5) == {"rows": 5, "not_finite": 0, "contradictions": 0}
    assert store.compact() == {"shards": 1, "rows_removed": 1}
    assert store.lookup(KEYS) == dict(zip(KEYS, [-1.0, -2.0, -3.0, -4.0], strict=False))
    add(store, KEYS[:1], [-1.5], [2])
    assert store.verify(1e-5)["contradictions"] == 1


def test_a_later_look_up_reads_what_was_added_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    add(other, KEYS[:2], [-1.0, -2.0], [2, 2])
    opened: list[str] = []
    read = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda file, **_: opened.append(file.path) or read(file))
    assert store.lookup(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0}
    add(other, KEYS[1:3], [-2.5, -3.0], [2, 2])
    assert store.lookup(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[2]: -3.0}
    assert store.lookup(KEYS[:1]) == {KEYS[0]: -1.0}
    assert sorted(opened) == store.shards.paths()


def test_what_is_added_little_by_little_is_sorted_few_times_and_found(tmp_path: Path) -> None:
    store, keys = open_store(tmp_path), [completion_key([7], [i]) for i in range(300)]
    for first in range(0, 300, 3):
        add(store, keys[first : first + 3], [-float(i) for i in range(first, first + 3)], [1] * 3)
        assert store.lookup(keys[: first + 4]) == {key: -float(i) for i, key in enumerate(keys[: first + 3])}
        lengths = [len(run) for run, _ in store._values._runs]
        assert all(long >= 2 * short for long, short in pairwise(lengths))
        assert len(store) == first + 3
    assert open_store(tmp_path).lookup(keys) == {key: -float(i) for i, key in enumerate(keys)}


def test_a_look_up_after_a_compaction_and_after_a_failure_misses_nothing(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    for i, key in enumerate(KEYS[:4]):
        add(other, [key], [-float(i)], [2])
    assert len(store.lookup(KEYS)) == 4
    add(other, KEYS[4:5], [-4.0], [2])
    other.compact()
    add(other, KEYS[5:], [-5.0], [2])
    shards = [Path(shard) for shard in store.shards.paths()]
    whole = [shard.read_bytes() for shard in shards]
    shards[-1].write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        store.lookup(KEYS)
    shards[-1].write_bytes(whole[-1])
    assert store.lookup(KEYS) == {key: -float(i) for i, key in enumerate(KEYS)}


def test_keys_that_differ_in_null_bytes_alone_are_different(tmp_path: Path) -> None:
    keys = [bytes(16), b"a" + bytes(15), b"a" * 15 + bytes(1), bytes(15) + b"a"]
    store = open_store(tmp_path)
    add(store, keys[1:], [-1.0, -2.0, -3.0], [2, 2, 2])
    for each in (store, open_store(tmp_path)):
        assert each.lookup(keys) == dict(zip(keys[1:], [-1.0, -2.0, -3.0], strict=True))


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    add(store, KEYS, [-1.0] * 6, [2] * 6)
    shard = Path(store.shards.paths()[0])
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StoreError, match=f"{shard.name}: cannot be read"):
        open_store(tmp_path).lookup(KEYS)


def test_an_object_store_by_url_serves_as_well() -> None:
    store = open_references("memory://bucket/store", NUMERICS)
    add(store, KEYS[:1], [-1.0], [2])
    assert open_references("memory://bucket/store", NUMERICS).lookup(KEYS) == {KEYS[0]: -1.0}
    assert [s.stats()["rows"] for s in find_stores(REFERENCES, "memory://bucket/store")] == [1]


def test_a_folder_without_a_store_is_an_error(tmp_path: Path) -> None:
    assert find_stores(REFERENCES, str(tmp_path)) == []
    shown = CliRunner().invoke(store_app, ["stats", str(tmp_path)])
    assert "holds neither reference log-probabilities nor rewards" in str(shown.exception)


def test_a_reader_misses_nothing_while_shards_are_compacted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for i, key in enumerate(KEYS):
        add(store, [key], [-float(i)], [2])
    reading = open_store(tmp_path).shards.batches(["key"])
    met = set(next(reading)["key"].to_pylist())
    store.compact()  # the shards that were listed are gone
    met |= {key for batch in reading for key in batch["key"].to_pylist()}
    assert met == set(KEYS)


def test_two_compactions_at_once_keep_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    for i, key in enumerate(KEYS):
        add(store, [key], [-float(i)], [2])
    write = store.shards.write
    monkeypatch.setattr(store.shards, "write", lambda table: (other.compact(), write(table))[1])
    store.compact()
    assert open_store(tmp_path).lookup(KEYS) == {key: -float(i) for i, key in enumerate(KEYS)}
