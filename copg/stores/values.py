"""A store of values: a number for each key, written once, found by every later run.

A store is a folder (local, or an object store by URL) with a sub-folder for each combination of what the
values depend on beside their keys. A sub-folder holds Parquet shards and a JSON file that says what those
dependencies are.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from copg.errors import StoreError
from copg.stores.files import open_files
from copg.stores.sealed import sealed, unseal
from copg.stores.shards import NAMED, Shards
from copg.stores.sorted_values import KEY, SortedValues

FOLDER_DIGITS = 20
"""Of the digest that names a sub-folder."""


@dataclass(frozen=True, slots=True)
class ValueKind:
    """What a store holds, and how near two values of one key must be."""

    about: str
    """Names the JSON file beside the shards, and its content in the statistics."""
    schema: pa.Schema
    """``key``, the value, and whatever else is kept of each."""
    tolerance: float
    """By which two values of a key may differ, in units of ``unit``."""
    unit: Callable[[float, Mapping[str, Any]], float]
    """From the first value met and the row of another: how far a tolerance of 1 lets them differ."""

    @property
    def value(self) -> str:
        """Name of the column that holds the value."""
        return str(self.schema.names[1])


class ValueStore:
    """The values of one sub-folder; once something was looked up, all are in memory, at 24 bytes each."""

    def __init__(
        self,
        kind: ValueKind,
        root: str,
        folder: str,
        about: Mapping[str, Any] | None = None,
        *,
        rows_per_shard: int = 1,
        flush_every_s: float = 30.0,
    ) -> None:
        """Open, without creating or reading anything.

        Args:
            root: folder or URL (``s3://...``) of the store.
            folder: sub-folder; of a digest its first digits count.
            about: what the values depend on, written beside the first shard.
            rows_per_shard: how many new values wait in memory before they are written.
            flush_every_s: seconds they wait at most, which is the work that a killed process can lose.
        """
        fs, path = open_files(root)
        self.kind = kind
        self.path = f"{path.rstrip('/')}/{folder[:FOLDER_DIGITS]}"
        self.shards = Shards(fs, self.path)
        self._about_path = f"{self.path}/{kind.about}.json"
        self._about = about
        self._rows_per_shard, self._flush_every_s = rows_per_shard, flush_every_s
        self._met: set[str] = set()
        self._values = SortedValues()
        self._waiting: dict[bytes, tuple[Any, ...]] = {}
        self._flushed = time.monotonic()

    def __len__(self) -> int:
        return len(self._values) + len(self._waiting)

    def refresh(self) -> None:
        """Read the shards that were not there the last time, whoever wrote them.

        Raises:
            StoreError: a shard cannot be read; nothing counts as read then.
        """
        met, keys, values = set(self._met), [], []
        for batch in self.shards.batches(["key", self.kind.value], met=met):
            column = batch["key"]
            whole = np.frombuffer(column.buffers()[1], KEY)  # to_numpy would make an object of each
            keys.append(whole[column.offset :][: len(column)])
            values.append(batch[self.kind.value].to_numpy())
        self._values.add(keys, values)
        self._met = met

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The value of each key as of the last ``refresh``, or None; what was appended here is there."""
        stored = self._values.get(keys)
        if not self._waiting:
            return stored
        waiting = [self._waiting.get(key, (None,))[0] for key in keys]
        return [new if old is None else old for old, new in zip(stored, waiting, strict=True)]

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The stored values of those ``keys`` that are there, whoever wrote them meanwhile.

        The first look-up reads every shard, a later one those that were added since.

        Raises:
            StoreError: a shard cannot be read.
        """
        self.refresh()
        found = zip(keys, self.get(keys), strict=True)
        return {key: value for key, value in found if value is not None}

    def append(self, keys: Sequence[bytes], values: Sequence[float], *others: Sequence[Any]) -> None:
        """Add values; they reach the disk when enough of them wait, after some time, or with ``flush``.

        Args:
            keys: of ``KEY_BYTES`` each.
            others: one a key for each further column of the schema.

        Raises:
            StoreError: a value is not finite; none is added then.
        """
        bad = [value for value in values if not np.isfinite(value)]
        if bad:
            raise StoreError(
                f"{self.kind.value}={bad[0]} is not finite; {len(bad)} of {len(values)} are refused and "
                "nothing was stored"
            )
        self._waiting |= dict(zip(keys, zip(values, *others, strict=True), strict=True))
        late = time.monotonic() - self._flushed > self._flush_every_s
        if late or len(self._waiting) >= self._rows_per_shard:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard, visible whole or not at all."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        keys, (values, *others) = list(self._waiting), zip(*self._waiting.values(), strict=True)
        columns = zip((keys, values, *others), self.kind.schema, strict=True)
        arrays = [pa.array(column, field.type) for column, field in columns]
        self._met.add(self._write(pa.Table.from_arrays(arrays, schema=self.kind.schema)))
        self._values.add([np.array(keys, KEY)], [np.array(values, np.float64)])
        self._waiting = {}

    def _write(self, table: pa.Table) -> str:
        if not self.shards.fs.exists(self._about_path):
            self.shards.put(f"{self.kind.about}.json", sealed(self.about()))
        return self.shards.write(table)

    def about(self) -> dict[str, Any]:
        """What the values depend on."""
        if self._about is not None:
            return dict(self._about)
        data = self.shards.fs.cat_file(self._about_path)
        try:
            return unseal(data)
        except ValueError as error:
            raise StoreError(
                f"{self._about_path}: is damaged ({error}); remove it, the next run writes it"
            ) from None

    def stats(self) -> dict[str, Any]:
        """Rows, shards, bytes, and what the values depend on."""
        paths = self.shards.paths()
        return {
            "folder": self.path,
            self.kind.about: self.about(),
            "rows": sum(batch.num_rows for batch in self.shards.batches([self.kind.value])),
            "shards": len(paths),
            "without_digest": sum(NAMED.search(path) is None for path in paths),
            "bytes": sum(int(self.shards.fs.size(path)) for path in paths),
        }

    def verify(self, tolerance: float | None = None) -> dict[str, int]:
        """Read every row: how many there are, are not finite, or contradict another of the same key.

        Args:
            tolerance: by which two writers may differ; None takes that of the kind.
        """
        tolerance = self.kind.tolerance if tolerance is None else tolerance
        seen: dict[bytes, float] = {}
        counts = {"rows": 0, "not_finite": 0, "contradictions": 0}
        for batch in self.shards.batches():
            for row in batch.to_pylist():
                value = row[self.kind.value]
                counts["rows"] += 1
                counts["not_finite"] += not np.isfinite(value)
                first = seen.setdefault(row["key"], value)
                counts["contradictions"] += abs(first - value) > tolerance * self.kind.unit(first, row)
        return counts

    def compact(self) -> dict[str, int]:
        """Rewrite all shards as one, a row a key; what others read or write meanwhile stays whole."""
        paths = self.shards.paths()
        if len(paths) < 2:
            return {"shards": len(paths), "rows_removed": 0}
        table = pa.Table.from_batches(list(self.shards.batches()), schema=self.kind.schema)
        numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        first = numbered.group_by("key").aggregate([("row", "min")])["row_min"]
        self._write(table.take(first))
        self.shards.remove(paths)
        return {"shards": 1, "rows_removed": table.num_rows - len(first)}


def find_stores(kind: ValueKind, root: str) -> list[ValueStore]:
    """Every sub-folder of a store that holds values of a kind."""
    fs, path = open_files(root)
    found = sorted(fs.glob(f"{path.rstrip('/')}/*/{kind.about}.json"))
    return [ValueStore(kind, root, about.split("/")[-2]) for about in found]
