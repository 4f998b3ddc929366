"""The order of records on disk, whatever the size of the buckets."""

import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pytest

from copg.data.bounds import Bounds
from copg.data.spool import Spool

SCHEMA = pa.schema(
    [pa.field("key", pa.binary(16), nullable=False), ("row", pa.int64()), ("text", pa.string())]
)


def batch(first: int, keys: list[str]) -> pa.RecordBatch:
    digests = [hashlib.md5(key.encode()).digest() for key in keys]
    rows = list(range(first, first + len(keys)))
    return pa.RecordBatch.from_arrays(
        [pa.array(digests, pa.binary(16)), pa.array(rows), pa.array(keys)], schema=SCHEMA
    )


def grouped(
    directory: Path, keys: list[str], rows_per_batch: int, dropped: list[int], **bounds: int
) -> list[list[int]]:
    """Rows of each prompt, in the order in which the spool gives them."""
    schema = SCHEMA.set(1, pa.field("number", pa.int64()))
    groups = []
    with Spool(directory, schema, Bounds(**bounds)) as spool:
        for first in range(0, len(keys), rows_per_batch):
            made = batch(first, keys[first : first + rows_per_batch])
            spool.append(pa.RecordBatch.from_arrays(made.columns, schema=schema))
        for row in dropped:
            assert spool.drop(row)["number"].to_pylist() == [row]
        for bucket in spool.buckets():
            numbers = bucket.records["number"].to_numpy()[bucket.order]
            ends = [*bucket.starts[1:].tolist(), len(numbers)]
            groups += [numbers[a:b].tolist() for a, b in zip(bucket.starts.tolist(), ends, strict=True)]
    assert list(directory.iterdir()) == []
    return groups


def test_prompts_come_by_first_appearance_with_all_their_rows(tmp_path: Path) -> None:
    # a at 0 and 3, b at 1, c at 2 and 4
    assert grouped(tmp_path, ["a", "b", "c", "a", "c"], 2, []) == [[0, 3], [1], [2, 4]]


def test_a_dropped_row_is_gone_and_no_longer_the_first_of_its_prompt(tmp_path: Path) -> None:
    # without row 0, prompt a first appears at 3
    assert grouped(tmp_path, ["a", "b", "c", "a", "c"], 2, [0]) == [[1], [2, 4], [3]]
    assert grouped(tmp_path, ["a", "b"], 2, [0, 1]) == []


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert grouped(tmp_path, [], 2, []) == []


@pytest.mark.parametrize("bucket_bytes", [1, 500, 2**25])
@pytest.mark.parametrize("max_buckets", [3, 256])
def test_the_order_does_not_depend_on_buckets(tmp_path: Path, bucket_bytes: int, max_buckets: int) -> None:
    rng = random.Random(0)
    keys = [f"prompt {rng.randrange(60)}" for _ in range(200)]
    dropped = [3, 4, 150, 199]
    first: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if row not in dropped:
            first.setdefault(key, []).append(row)
    found = grouped(tmp_path, keys, 7, dropped, bucket_bytes=bucket_bytes, max_buckets=max_buckets)
    assert found == list(first.values())
