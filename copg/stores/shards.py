"""A folder of append-only Parquet shards, local or in an object store: what the stores of values share.

Writers never touch one another's shards, so any number may write.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from copg.errors import StoreError

KEY_BYTES = 16
BATCH_ROWS = 131_072
_Keys: TypeAlias = npt.NDArray[np.bytes_]
_Floats: TypeAlias = npt.NDArray[np.float64]
_KEY: npt.DTypeLike = f"S{KEY_BYTES}"
"""Null bytes at the end of a key count like any other as long as keys are compared with one another."""


class Shards:
    """The files of one part of a store; a row has a ``key`` of ``KEY_BYTES`` and a value."""

    schema: ClassVar[pa.Schema]
    value: ClassVar[str]
    """Column of the value."""
    scale_columns: ClassVar[tuple[str, ...]] = ()
    """Further columns that ``scale`` reads."""
    about_file: ClassVar[str]
    """Beside the shards: what their values depend on."""
    about_name: ClassVar[str]
    """Of its contents in ``stats``."""

    def __init__(self, fs: Any, path: str) -> None:
        """Open, without creating or reading anything.

        Args:
            fs: file system of ``fsspec``.
            path: folder on it.
        """
        self.fs, self.path = fs, path

    def shards(self) -> list[str]:
        """Paths of the shards, in name order."""
        self.fs.invalidate_cache()
        return sorted(self.fs.glob(f"{self.path}/*.parquet"))

    def batches(
        self, columns: Sequence[str] | None = None, *, met: set[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows, some hundred thousand at a time, shard after shard.

        A shard that ``compact`` removed meanwhile is met again in the one that replaced it.

        Args:
            columns: None for all of them.
            met: shards to leave out; those that are read are added.

        Raises:
            StoreError: a shard cannot be read.
        """
        met = set() if met is None else met
        while left := [shard for shard in self.shards() if shard not in met]:
            for shard in left:
                met.add(shard)
                try:
                    with self.fs.open(shard, "rb") as file:
                        yield from pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS, columns=columns)
                except FileNotFoundError:
                    break
                except (OSError, pa.ArrowException) as error:
                    raise StoreError(
                        f"{shard}: cannot be read ({error}); remove it and it is computed again"
                    ) from None
            else:
                return

    def write(self, table: pa.Table, about: Mapping[str, Any]) -> None:
        """Add one shard, visible whole or not at all."""
        self.fs.makedirs(self.path, exist_ok=True)
        if not self.fs.exists(f"{self.path}/{self.about_file}"):
            self._put(self.about_file, json.dumps(about, indent=2).encode())
        sink = pa.BufferOutputStream()
        pq.write_table(table.sort_by("key"), sink, compression="zstd")
        self._put(f"{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())

    def _put(self, name: str, data: bytes) -> None:
        """Object stores show an object once it is whole; a local file is moved to its name."""
        path = f"{self.path}/{name}"
        if "file" not in self.fs.protocol:
            self.fs.pipe_file(path, data)
            return
        part = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.pipe_file(part, data)
        self.fs.mv(part, path)

    def about(self) -> dict[str, Any]:
        """What the values depend on."""
        return dict(json.loads(self.fs.cat_file(f"{self.path}/{self.about_file}")))

    def stats(self) -> dict[str, Any]:
        """Rows, shards, bytes, and what the values depend on."""
        shards = self.shards()
        return {
            "folder": self.path,
            self.about_name: self.about(),
            "rows": sum(batch.num_rows for batch in self.batches([self.value])),
            "shards": len(shards),
            "bytes": sum(int(self.fs.size(shard)) for shard in shards),
        }

    def verify(self, tolerance: float) -> dict[str, int]:
        """Read every row: how many there are, are not finite, or contradict another of the same key.

        Args:
            tolerance: by which two writers may differ, in units of ``scale``.
        """
        seen: dict[bytes, float] = {}
        counts = {"rows": 0, "not_finite": 0, "contradictions": 0}
        for batch in self.batches(["key", self.value, *self.scale_columns]):
            for row in batch.to_pylist():
                value = row[self.value]
                counts["rows"] += 1
                counts["not_finite"] += not np.isfinite(value)
                first = seen.setdefault(row["key"], value)
                counts["contradictions"] += abs(first - value) > tolerance * self.scale(first, row)
        return counts

    def scale(self, first: float, row: Mapping[str, Any]) -> float:
        """What a tolerance of 1 allows the value of ``row`` to differ from ``first``, an earlier one."""
        raise NotImplementedError

    def compact(self) -> dict[str, int]:
        """Rewrite all shards as one, a row a key; what others read or write meanwhile stays whole."""
        shards = self.shards()
        if len(shards) < 2:
            return {"shards": len(shards), "rows_removed": 0}
        table = pa.Table.from_batches(list(self.batches()), schema=self.schema)
        numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        kept = numbered.group_by("key").aggregate([("row", "min")])["row_min"]
        self.write(table.take(kept), self.about())
        for shard in shards:
            with suppress(FileNotFoundError):  # another compaction was faster
                self.fs.rm_file(shard)
        return {"shards": 1, "rows_removed": table.num_rows - len(kept)}


class Values:
    """The values of a folder of shards, by key, in memory: 24 bytes each, some 100 more while many are read.

    Of two values of one key the first that was read stays; shards are read in the order of their names. The
    keys are sorted in runs, each at least twice as long as the next, so that n values added little by little
    are sorted log(n) times.
    """

    def __init__(self, shards: Shards) -> None:
        """Nothing is read yet."""
        self._shards = shards
        self._met: frozenset[str] = frozenset()
        self._runs: list[tuple[_Keys, _Floats]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    def refresh(self) -> None:
        """Read the shards that were not there the last time.

        Raises:
            StoreError: a shard cannot be read; nothing counts as read then.
        """
        met, keys, values = set(self._met), [], []
        for batch in self._shards.batches(["key", self._shards.value], met=met):
            column = batch["key"]
            whole = np.frombuffer(column.buffers()[1], _KEY)  # to_numpy would make an object of each
            keys.append(whole[column.offset :][: len(column)])
            values.append(batch[self._shards.value].to_numpy())
        if keys:
            self._runs.append(_sorted(keys, values))
        self._met = frozenset(met)
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._runs[-2:] = [_sorted(*zip(*self._runs[-2:], strict=True))]

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The value of each key as of the last ``refresh``, or None."""
        wanted = np.array(keys, _KEY)
        found = np.zeros(len(wanted))
        there = np.zeros(len(wanted), bool)
        for run, values in reversed(self._runs):  # an earlier run has the last word
            places = np.searchsorted(run, wanted).clip(max=len(run) - 1)
            hits = run[places] == wanted
            found[hits] = values[places[hits]]
            there |= hits
        pairs = zip(found.tolist(), there.tolist(), strict=True)
        return [value if hit else None for value, hit in pairs]


def _sorted(keys: Sequence[_Keys], values: Sequence[_Floats]) -> tuple[_Keys, _Floats]:
    """One run, of each key the first."""
    unique, first = np.unique(np.concatenate(keys), return_index=True)
    return unique, np.concatenate(values)[first]
