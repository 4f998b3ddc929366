"""The reward store: every value a reward ever gave, so that it is computed once in its life.

A store is a folder (local, or an object store by URL) of append-only Parquet shards, one sub-folder for each
reward with its settings and code. Writers never touch one another's shards, so any number may write.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
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
        self.fs, path = fsspec.url_to_fs(root)
        self.path = f"{path.rstrip('/')}/{digest[:20]}"
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
        arrays = [pa.array(keys, SCHEMA[0].type), pa.array([self._unwritten[k] for k in keys], pa.float64())]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink, compression="zstd")
        self.fs.makedirs(self.path, exist_ok=True)
        if not self.fs.exists(f"{self.path}/reward.json"):
            self._put(f"{self.path}/reward.json", json.dumps(self._about, indent=2).encode())
        self._put(f"{self.path}/{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())
        self._unwritten = {}

    def _put(self, path: str, data: bytes) -> None:
        """Object stores show an object once it is whole; a local file is moved to its name."""
        if "file" not in self.fs.protocol:
            self.fs.pipe_file(path, data)
            return
        part = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.pipe_file(part, data)
        self.fs.mv(part, path)

    def _load(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.float64]]:
        self.fs.invalidate_cache()
        keys = [np.zeros(0, dtype=f"S{KEY_BYTES}")]
        values = [np.zeros(0)]
        for shard in sorted(self.fs.glob(f"{self.path}/*.parquet")):
            try:
                with self.fs.open(shard, "rb") as file:
                    table = pq.read_table(file, schema=SCHEMA)
            except (OSError, pa.ArrowException) as error:
                raise StoreError(
                    f"{shard}: cannot be read ({error}); remove it and it is computed again"
                ) from None
            keys.append(table["key"].to_numpy().astype(f"S{KEY_BYTES}"))
            values.append(table["reward"].to_numpy())
        # of two writers of one key the first shard by name decides
        unique, first = np.unique(np.concatenate(keys), return_index=True)
        return unique, np.concatenate(values)[first]
