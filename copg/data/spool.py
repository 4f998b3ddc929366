"""Records on disk, put in such an order that those of one prompt lie together, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from copg.data.bounds import BOUNDS, Bounds

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """All records of some prompts."""

    records: pa.Table
    order: np.ndarray
    """Rows of ``records``, those of a prompt side by side, prompts by first appearance."""
    starts: np.ndarray
    """[G] where in ``order`` each prompt begins."""

    @property
    def sizes(self) -> np.ndarray:
        """[G] records of each prompt."""
        return np.diff(self.starts, append=len(self.order))


class Spool:
    """Takes batches of records as they come, gives them back in buckets.

    Memory: one bucket, and some 40 bytes a record for the order. Disk: the records twice, uncompressed.
    Its files are gone when the context ends.

    Args:
        directory: where the files go; it must exist.
        schema: of the batches; its first column is the 16-byte key by which rows belong together.
    """

    def __init__(self, directory: Path, schema: pa.Schema, bounds: Bounds = BOUNDS) -> None:
        self._bounds = bounds
        self._directory, self._schema = directory, schema
        self._file = (directory / "records.spool").open("w+b")
        self._ends = [0]
        self._first_rows = [0]
        self._keys: list[bytes] = []
        self._dropped: list[int] = []
        self._last_dropped: tuple[int, pa.RecordBatch] | None = None

    @property
    def num_rows(self) -> int:
        """Rows taken so far, the dropped ones included."""
        return self._first_rows[-1]

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows; they get the next numbers."""
        data = batch.serialize()
        self._file.write(memoryview(data))
        self._ends.append(self._ends[-1] + data.size)
        self._first_rows.append(self.num_rows + batch.num_rows)
        self._keys.append(b"".join(batch.column(0).to_pylist()))

    def drop(self, row: int) -> pa.RecordBatch:
        """Take a row out; the answer holds that row alone."""
        self._dropped.append(row)
        index = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        if self._last_dropped is None or self._last_dropped[0] != index:
            self._last_dropped = index, self._read(index)
        return self._last_dropped[1].slice(row - self._first_rows[index], 1)

    def _read(self, index: int) -> pa.RecordBatch:
        self._file.seek(self._ends[index])
        data = self._file.read(self._ends[index + 1] - self._ends[index])
        self._file.seek(0, 2)
        return pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)

    def buckets(self) -> Iterator[Bucket]:
        """All rows that were not dropped, some megabytes at a time; no prompt is in two buckets."""
        kept = np.ones(self.num_rows, bool)
        kept[self._dropped] = False
        rank = self._ranks(kept)
        if not len(rank):
            return
        num = self._bounds.max_buckets
        bytes_per_row = np.diff(self._ends) / np.diff(self._first_rows)
        row_bytes = np.repeat(bytes_per_row.astype(np.float32), np.diff(self._first_rows))[kept]
        weight = np.cumsum(np.bincount(rank, weights=row_bytes))
        bucket_of_rank = (weight / max(self._bounds.bucket_bytes, weight[-1] / num)).astype(np.int16)
        for path in self._scatter(bucket_of_rank[rank].clip(max=num - 1), kept):
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
            path.unlink()
            here = rank[table["row"].to_numpy()]
            order = np.argsort(here, kind="stable")
            starts = np.flatnonzero(np.diff(here[order], prepend=-1))
            yield Bucket(table.drop_columns(["row"]), order, starts)

    def _ranks(self, kept: np.ndarray) -> np.ndarray:
        """For each kept row, how many prompts appeared before its own."""
        joined = np.frombuffer(b"".join(self._keys), f"V{KEY_BYTES}")[kept]
        self._keys = []
        keys = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(KEY_BYTES), len(joined), [None, pa.py_buffer(joined.tobytes())]
        )
        ranks: np.ndarray = keys.dictionary_encode().indices.to_numpy()
        return ranks

    def _scatter(self, bucket: np.ndarray, kept: np.ndarray) -> list[Path]:
        """Move every kept row to its bucket's file, with its number among the kept rows."""
        schema = self._schema.append(pa.field("row", pa.int64()))
        writers: dict[int, Any] = {}
        paths: dict[int, Path] = {}
        row = 0
        for index in range(len(self._ends) - 1):
            batch = self._read(index)
            here = kept[self._first_rows[index] : self._first_rows[index + 1]]
            batch = batch if here.all() else batch.filter(pa.array(here))
            wide = batch.append_column(schema.field("row"), pa.array(np.arange(row, row + len(batch))))
            targets = bucket[row : row + len(batch)]
            row += len(batch)
            for target in np.unique(targets).tolist():
                if target not in writers:
                    paths[target] = self._directory / f"{target}.spool"
                    writers[target] = pa.ipc.new_stream(str(paths[target]), schema)
                own = targets == target
                writers[target].write_batch(wide if own.all() else wide.filter(pa.array(own)))
        for writer in writers.values():
            writer.close()
        self._file.truncate(0)
        return [paths[target] for target in sorted(paths)]

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        for path in self._directory.glob("*.spool"):
            path.unlink()
