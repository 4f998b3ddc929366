"""The reward store: every value a reward ever gave, so that it is computed once in its life.

A store is a folder (local, or an object store by URL) of append-only Parquet shards, one sub-folder for each
reward with its settings and code. Writers never touch one another's shards, so any number may write.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from copg.errors import StoreError
from copg.records import Prompt
from copg.stores.shards import KEY_BYTES, Shards, Values

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


class RewardShards(Shards):
    """The files of one reward."""

    schema, value = SCHEMA, "reward"
    about_file, about_name = ABOUT, "reward"

    def verify(self, tolerance: float = TOLERANCE) -> dict[str, int]:
        """As of every store; the tolerance is relative, and absolute near 0."""
        return super().verify(tolerance)

    def scale(self, first: float, row: Mapping[str, Any]) -> float:
        """The value itself, or 1."""
        return max(1.0, abs(first))


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
        self._values = Values(self.shards)
        self._values.refresh()
        self._new: dict[bytes, float] = {}
        self._unwritten: dict[bytes, float] = {}
        self._flushed = time.monotonic()

    def __len__(self) -> int:
        return len(self._values) + len(self._new)

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The stored value of each key, or None."""
        stored = self._values.get(keys)
        return [
            self._new.get(key) if value is None else value for key, value in zip(keys, stored, strict=True)
        ]

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
        keys = list(self._unwritten)
        values = [self._unwritten[key] for key in keys]
        arrays = [pa.array(column, field.type) for column, field in zip((keys, values), SCHEMA, strict=True)]
        self.shards.write(pa.Table.from_arrays(arrays, schema=SCHEMA), self._about)
        self._unwritten = {}
