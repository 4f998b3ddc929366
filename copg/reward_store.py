"""The reward store: every value a reward ever gave, so that it is computed once in its life.

A store is a folder (local, or an object store by URL) of append-only Parquet shards, one sub-folder for each
reward with its settings and code. Writers never touch one another's shards, so any number may write.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from copg.errors import StoreError
from copg.records import Prompt

KEY_BYTES = 16
SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(KEY_BYTES), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
    ]
)
ROWS_PER_SHARD = 65_536
FLUSH_EVERY_S = 30.0
"""Work that a killed process can lose."""
ABOUT = "reward.json"
TOLERANCE = 1e-3
"""Relative, and absolute near 0: how far a value may move with the batch and the device."""


def reward_key(prompt: Prompt | None, completion: str, columns: Mapping[str, Any], group: str = "") -> bytes:
    """128-bit digest of what a value depends on beside the reward itself.

    Args:
        prompt: None when the reward does not read it.
        completion: text.
        columns: those the reward reads, plain values.
        group: digest of all completions of the prompt, when the reward looks at them.
    """
    text = json.dumps([prompt, completion, columns, group], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


class RewardShards:
    """The files of one reward: what is there, whether it is sound, and as one file instead of many."""

    def __init__(self, fs: Any, path: str) -> None:
        """Open, without creating or reading anything.

        Args:
            fs: file system of ``fsspec``.
            path: folder on it.
        """
        self.fs, self.path = fs, path

    def names(self) -> list[str]:
        """Paths of the shards, in name order."""
        self.fs.invalidate_cache()
        return sorted(self.fs.glob(f"{self.path}/*.parquet"))

    def tables(self) -> Iterator[pa.Table]:
        """Shard after shard; one that ``compact`` removed meanwhile is met again in what replaced it.

        Raises:
            StoreError: a shard cannot be read.
        """
        met: set[str] = set()
        while left := [shard for shard in self.names() if shard not in met]:
            for shard in left:
                met.add(shard)
                try:
                    with self.fs.open(shard, "rb") as file:
                        yield pq.read_table(file, schema=SCHEMA)
                except FileNotFoundError:
                    break
                except (OSError, pa.ArrowException) as error:
                    raise StoreError(
                        f"{shard}: cannot be read ({error}); remove it and it is computed again"
                    ) from None
            else:
                return

    def write(self, keys: pa.Array, values: pa.Array, about: Mapping[str, Any]) -> None:
        """Add one shard, visible whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays([keys, values], schema=SCHEMA), sink, compression="zstd")
        self.fs.makedirs(self.path, exist_ok=True)
        if not self.fs.exists(f"{self.path}/{ABOUT}"):
            self._put(f"{self.path}/{ABOUT}", json.dumps(about, indent=2).encode())
        self._put(f"{self.path}/{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())

    def _put(self, path: str, data: bytes) -> None:
        """Object stores show an object once it is whole; a local file is moved to its name."""
        if "file" not in self.fs.protocol:
            self.fs.pipe_file(path, data)
            return
        part = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.pipe_file(part, data)
        self.fs.mv(part, path)

    def about(self) -> dict[str, Any]:
        """Which reward it is, with its settings."""
        return dict(json.loads(self.fs.cat_file(f"{self.path}/{ABOUT}")))

    def stats(self) -> dict[str, Any]:
        """Rows, shards, bytes, and whose values they are."""
        shards = self.names()
        return {
            "folder": self.path,
            "reward": self.about(),
            "rows": sum(table.num_rows for table in self.tables()),
            "shards": len(shards),
            "bytes": sum(int(self.fs.size(shard)) for shard in shards),
        }

    def verify(self, tolerance: float = TOLERANCE) -> dict[str, int]:
        """Read every row: how many there are, are not finite, or contradict another of the same key."""
        seen: dict[bytes, float] = {}
        counts = {"rows": 0, "not_finite": 0, "contradictions": 0}
        for table in self.tables():
            counts["rows"] += table.num_rows
            for key, value in zip(table["key"].to_pylist(), table["reward"].to_pylist(), strict=True):
                counts["not_finite"] += not np.isfinite(value)
                first = seen.setdefault(key, value)
                counts["contradictions"] += abs(first - value) > tolerance * max(1.0, abs(first))
        return counts

    def compact(self) -> dict[str, int]:
        """Rewrite all shards as one, a row a key; what others read or write meanwhile stays whole."""
        shards = self.names()
        if len(shards) < 2:
            return {"shards": len(shards), "rows_removed": 0}
        table = pa.concat_tables(list(self.tables()))
        numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        kept = table.take(numbered.group_by("key").aggregate([("row", "min")])["row_min"]).sort_by("key")
        self.write(kept["key"].combine_chunks(), kept["reward"].combine_chunks(), self.about())
        for shard in shards:
            with suppress(FileNotFoundError):  # another compaction was faster
                self.fs.rm_file(shard)
        return {"shards": 1, "rows_removed": table.num_rows - kept.num_rows}


def find_rewards(root: str) -> list[RewardShards]:
    """Every reward whose values a store holds."""
    fs, path = fsspec.url_to_fs(root)
    found = sorted(fs.glob(f"{path.rstrip('/')}/*/{ABOUT}"))
    return [RewardShards(fs, about.rpartition("/")[0]) for about in found]


class RewardStore:
    """Values of one reward; all of them in memory while open, at 24 bytes each."""

    def __init__(self, root: str, digest: str, about: Mapping[str, Any] | None = None) -> None:
        """Read what is there.

        Args:
            root: folder or URL (``s3://...``) of the store, shared by all rewards.
            digest: of the reward with its settings, code and weights.
            about: written beside the shards, for people.

        Raises:
            StoreError: a shard cannot be read.
        """
        fs, path = fsspec.url_to_fs(root)
        self.shards = RewardShards(fs, f"{path.rstrip('/')}/{digest[:20]}")
        self._about = dict(about or {})
        self._keys, self._values = self._load()
        self._new: dict[bytes, float] = {}
        self._unwritten: dict[bytes, float] = {}
        self._flushed = time.monotonic()

    def __len__(self) -> int:
        return len(self._keys) + len(self._new)

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The stored value of each key, or None."""
        wanted = np.array(keys, dtype=f"S{KEY_BYTES}")
        places = np.searchsorted(self._keys, wanted)
        found: list[float | None] = []
        for key, place in zip(keys, places, strict=True):
            # numpy drops null bytes at the end of a key: compare what it keeps
            there = place < len(self._keys) and self._keys[place] == key.rstrip(b"\0")
            found.append(float(self._values[place]) if there else self._new.get(key))
        return found

    def put(self, keys: Sequence[bytes], values: Sequence[float]) -> None:
        """Add values; they reach the disk with ``flush``, or on the way when there are many.

        Raises:
            StoreError: a value is not finite; nothing is added then.
        """
        for value in values:
            if not np.isfinite(value):
                raise StoreError(f"reward={value} is not finite: {len(values)} values were not stored")
        added = dict(zip(keys, values, strict=True))
        self._new |= added
        self._unwritten |= added
        late = time.monotonic() - self._flushed > FLUSH_EVERY_S
        if late or len(self._unwritten) >= ROWS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last time as one shard, visible whole or not at all."""
        self._flushed = time.monotonic()
        if not self._unwritten:
            return
        keys = sorted(self._unwritten)
        values = pa.array([self._unwritten[key] for key in keys], pa.float64())
        self.shards.write(pa.array(keys, SCHEMA[0].type), values, self._about)
        self._unwritten = {}

    def _load(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.float64]]:
        keys = [np.zeros(0, dtype=f"S{KEY_BYTES}")]
        values = [np.zeros(0)]
        for table in self.shards.tables():
            keys.append(table["key"].to_numpy().astype(f"S{KEY_BYTES}"))
            values.append(table["reward"].to_numpy())
        # of two writers of one key the first shard by name decides
        unique, first = np.unique(np.concatenate(keys), return_index=True)
        return unique, np.concatenate(values)[first]
