"""The reference store: what it keeps, refuses and survives."""

import multiprocessing
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from copg.errors import StoreError
from copg.stores.reference_store import Numerics, ReferenceStore, completion_key, open_all

NUMERICS = Numerics("weights", "float32", "float32")
KEYS = [completion_key([1, 2], [3, i]) for i in range(6)]


def open_store(root: Path) -> ReferenceStore:
    return ReferenceStore(str(root), NUMERICS)


def test_a_stored_value_is_found_and_no_other(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.lookup(KEYS) == {}
    store.append(KEYS[:2], [-1.5, -2.5], [2, 2], device="cpu")
    store.append(KEYS[2:3], [-3.5], [2], device="cpu")
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
    open_store(tmp_path).append(KEYS, [-1.0] * 6, [2] * 6, device="cpu")
    assert ReferenceStore(str(tmp_path), other).lookup(KEYS) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_and_nothing_is_stored(tmp_path: Path, value: float) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreError, match="is not finite; 1 of 2 are refused"):
        store.append(KEYS[:2], [-1.0, value], [2, 2], device="cpu")
    assert store.shards() == []


def write_some(root: str, worker: int) -> None:
    store = ReferenceStore(root, NUMERICS)
    for i in range(20):
        store.append([completion_key([worker], [i])], [-float(i)], [1], device="cpu")


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
    store.append(KEYS[:3], [-1.0, -2.0, -3.0], [2, 2, 2], device="cpu")
    store.append(KEYS[2:4], [-3.0, -4.0], [2, 2], device="cpu")
    assert store.verify(1e-5) == {"rows": 5, "not_finite": 0, "contradictions": 0}
    assert store.compact() == {"shards": 1, "rows_removed": 1}
    assert store.lookup(KEYS) == dict(zip(KEYS, [-1.0, -2.0, -3.0, -4.0], strict=False))
    store.append(KEYS[:1], [-1.5], [2], device="cpu")
    assert store.verify(1e-5)["contradictions"] == 1


def test_a_later_look_up_reads_what_was_added_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    other.append(KEYS[:2], [-1.0, -2.0], [2, 2], device="cpu")
    opened: list[str] = []
    read = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda file: opened.append(file.path) or read(file))
    assert store.lookup(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0}
    other.append(KEYS[1:3], [-2.5, -3.0], [2, 2], device="cpu")
    assert store.lookup(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[2]: -3.0}
    assert store.lookup(KEYS[:1]) == {KEYS[0]: -1.0}
    assert sorted(opened) == store.shards()


def test_what_is_added_little_by_little_is_sorted_few_times_and_found(tmp_path: Path) -> None:
    store, keys = open_store(tmp_path), [completion_key([7], [i]) for i in range(300)]
    for first in range(0, 300, 3):
        store.append(
            keys[first : first + 3], [-float(i) for i in range(first, first + 3)], [1] * 3, device="cpu"
        )
        assert store.lookup(keys[: first + 4]) == {key: -float(i) for i, key in enumerate(keys[: first + 3])}
        lengths = [len(run) for run, _ in store._values._runs]
        assert all(long >= 2 * short for long, short in pairwise(lengths))
        assert len(store._values) == first + 3


def test_a_look_up_after_a_compaction_and_after_a_failure_misses_nothing(tmp_path: Path) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    for i, key in enumerate(KEYS[:4]):
        other.append([key], [-float(i)], [2], device="cpu")
    assert len(store.lookup(KEYS)) == 4
    other.append(KEYS[4:5], [-4.0], [2], device="cpu")
    other.compact()
    other.append(KEYS[5:], [-5.0], [2], device="cpu")
    shards = [Path(shard) for shard in store.shards()]
    whole = [shard.read_bytes() for shard in shards]
    shards[-1].write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        store.lookup(KEYS)
    shards[-1].write_bytes(whole[-1])
    assert store.lookup(KEYS) == {key: -float(i) for i, key in enumerate(KEYS)}


def test_keys_that_differ_in_null_bytes_alone_are_different(tmp_path: Path) -> None:
    keys = [bytes(16), b"a" + bytes(15), b"a" * 15 + bytes(1), bytes(15) + b"a"]
    store = open_store(tmp_path)
    store.append(keys[1:], [-1.0, -2.0, -3.0], [2, 2, 2], device="cpu")
    assert store.lookup(keys) == dict(zip(keys[1:], [-1.0, -2.0, -3.0], strict=True))


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(KEYS, [-1.0] * 6, [2] * 6, device="cpu")
    shard = Path(store.shards()[0])
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StoreError, match=f"{shard.name}: cannot be read"):
        store.lookup(KEYS)


def test_an_object_store_by_url_serves_as_well() -> None:
    store = ReferenceStore("memory://bucket/store", NUMERICS)
    store.append(KEYS[:1], [-1.0], [2], device="cpu")
    assert store.lookup(KEYS) == {KEYS[0]: -1.0}
    assert [s.stats()["rows"] for s in open_all("memory://bucket/store")] == [1]


def test_a_folder_without_a_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no reference store"):
        open_all(str(tmp_path))


def test_a_reader_misses_nothing_while_shards_are_compacted(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for i, key in enumerate(KEYS):
        store.append([key], [-float(i)], [2], device="cpu")
    reading = open_store(tmp_path).batches(["key"])
    met = set(next(reading)["key"].to_pylist())
    store.compact()  # the shards that were listed are gone
    met |= {key for batch in reading for key in batch["key"].to_pylist()}
    assert met == set(KEYS)


def test_two_compactions_at_once_keep_every_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = open_store(tmp_path), open_store(tmp_path)
    for i, key in enumerate(KEYS):
        store.append([key], [-float(i)], [2], device="cpu")
    write = store.write
    monkeypatch.setattr(store, "write", lambda *given: (other.compact(), write(*given))[1])
    store.compact()
    assert open_store(tmp_path).lookup(KEYS) == {key: -float(i) for i, key in enumerate(KEYS)}
