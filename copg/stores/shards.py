"""A folder of append-only Parquet shards, local or in an object store.

Writers never touch one another's shards, so any number may write.
"""

import hashlib
import io
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from copg.artifacts import replacing
from copg.errors import StoreError
from copg.stores.files import passes

BATCH_ROWS = 131_072
NAMED = re.compile(r"/[0-9a-f]{32}\.([0-9a-f]{64})\.parquet$")
"""Path of a shard, with the SHA-256 of its bytes; the shards of 0.1.0 have none in their names."""


class Shards:
    """The files of one folder; every row has a column ``key``."""

    def __init__(self, fs: Any, path: str) -> None:
        """Open, without creating or reading anything.

        Args:
            fs: file system of ``fsspec``.
        """
        self.fs, self.path = fs, path

    def paths(self) -> list[str]:
        """Of the shards, in name order."""
        self.fs.invalidate_cache()
        return sorted(self.fs.glob(f"{self.path}/*.parquet"))

    def batches(
        self, columns: Sequence[str] | None = None, *, met: set[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows, some hundred thousand at a time, shard after shard.

        A shard that a compaction removed meanwhile is met again in the one that replaced it.

        Args:
            columns: None for all of them.
            met: shards to leave out; those that are read are added.

        Raises:
            StoreError: a shard cannot be read.
        """
        met = set() if met is None else met
        while left := [shard for shard in self.paths() if shard not in met]:
            for shard in left:
                met.add(shard)
                try:
                    with self._open(shard) as file:
                        _check(shard, file)
                        shards = pq.ParquetFile(file, page_checksum_verification=True)
                        yield from shards.iter_batches(batch_size=BATCH_ROWS, columns=columns)
                except FileNotFoundError:
                    break
                except (OSError, pa.ArrowException) as error:
                    if not self._local and passes(error):
                        raise  # the store is away, and the shard may be whole
                    raise StoreError(
                        f"{shard}: cannot be read ({error}); remove it and it is computed again"
                    ) from None
            else:
                return

    def _open(self, shard: str) -> IO[bytes]:
        """A store's shard is fetched whole: a fault on the way is waited out, and does not blame it."""
        if self._local:
            return self.fs.open(shard, "rb")  # type: ignore[no-any-return]
        return io.BytesIO(self.fs.cat_file(shard))

    @property
    def _local(self) -> bool:
        return "file" in self.fs.protocol

    def write(self, table: pa.Table) -> str:
        """Add one shard, visible whole or not at all, with its digest in its name; returns its path."""
        sink = pa.BufferOutputStream()
        pq.write_table(table.sort_by("key"), sink, compression="zstd", write_page_checksum=True)
        data = sink.getvalue().to_pybytes()
        return self.put(f"{uuid.uuid4().hex}.{hashlib.sha256(data).hexdigest()}.parquet", data)

    def put(self, name: str, data: bytes) -> str:
        """Add a file, visible whole or not at all; returns its path.

        Object stores show an object once it is whole; a local file is moved to its name.
        """
        self.fs.makedirs(self.path, exist_ok=True)
        path = f"{self.path}/{name}"
        if not self._local:
            self.fs.pipe_file(path, data)
            return path
        with replacing(Path(path)) as part:
            part.write_bytes(data)
        return path

    def remove(self, paths: Iterable[str]) -> None:
        """Remove shards; those that are gone already are no error."""
        for path in paths:
            with suppress(FileNotFoundError):
                self.fs.rm_file(path)


def _check(shard: str, file: IO[bytes]) -> None:
    """Raise ``OSError`` where a shard's bytes are not those that its name tells of."""
    named = NAMED.search(shard)
    if named is None:
        return
    if hashlib.file_digest(file, "sha256").hexdigest() != named[1]:  # type: ignore[arg-type]
        raise OSError("it changed since it was written")
    file.seek(0)
