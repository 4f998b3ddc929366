"""The reference store: log pi_ref(y|x) of every completion ever met, computed once in its life.

A store is a folder (local, or an object store by URL) of append-only Parquet shards, one sub-folder for each
combination of weights and precision. Writers never touch one another's shards, so any number may write.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.digests import json_digest
from copg.errors import StoreError

NUMERICS_VERSION = 1
"""Raised by hand when a change of ours moves log-probabilities by more than the tolerance."""

KEY_BYTES = 16
SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(KEY_BYTES), nullable=False),
        pa.field("ref_logps", pa.float64(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("device", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("backend", pa.dictionary(pa.int8(), pa.string()), nullable=False),
    ]
)
BATCH_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class Numerics:
    """What a stored value depends on beside the tokens."""

    weights: str
    """Digest of the reference model."""
    parameter_dtype: str
    compute_dtype: str
    version: int = NUMERICS_VERSION


def completion_key(prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> bytes:
    """128-bit digest of what the model read and what it scored; no text, so no template can hide in it."""
    prompt, completion = np.asarray(prompt_ids, np.int32), np.asarray(completion_ids, np.int32)
    length = len(prompt).to_bytes(4, "little")
    digest = hashlib.blake2b(length + prompt.tobytes() + completion.tobytes(), digest_size=KEY_BYTES)
    return digest.digest()


class ReferenceStore:
    """Log-probabilities under one reference and precision, in one folder of a store."""

    def __init__(self, root: str, numerics: Numerics) -> None:
        """Open, without creating anything.

        Args:
            root: folder or URL (``s3://...``) of the store, shared by all references.
            numerics: which reference, in which precision.
        """
        self.fs, path = fsspec.url_to_fs(root)
        self.numerics = numerics
        self.path = f"{path.rstrip('/')}/{json_digest(asdict(numerics))[:20]}"

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The stored values, in nats, of those ``keys`` that are there.

        Shards are streamed, so memory grows with the keys asked for and not with the store. Where two
        writers stored the same key, the first shard by name decides.

        Raises:
            StoreError: a shard cannot be read.
        """
        found: dict[bytes, float] = {}
        if not keys:
            return found
        wanted = pa.array(sorted(set(keys)), SCHEMA.field("key").type)
        for batch in self.batches(["key", "ref_logps"]):
            hit = batch.filter(pc.is_in(batch["key"], value_set=wanted))
            for key, value in zip(hit["key"].to_pylist(), hit["ref_logps"].to_pylist(), strict=True):
                found.setdefault(key, value)
        return found

    def append(
        self,
        keys: Sequence[bytes],
        ref_logps: Sequence[float],
        num_tokens: Sequence[int],
        *,
        device: str,
        backend: str = "",
    ) -> None:
        """Add one shard, visible whole or not at all.

        Args:
            keys: from ``completion_key``.
            ref_logps: nats.
            num_tokens: of each completion.
            device: that computed them.
            backend: name of the attention that did.

        Raises:
            StoreError: a value is not finite; nothing is written then.
        """
        bad = [i for i, value in enumerate(ref_logps) if not np.isfinite(value)]
        if bad:
            raise StoreError(
                f"ref_logps={ref_logps[bad[0]]} of a completion of {num_tokens[bad[0]]} tokens is not "
                f"finite; {len(bad)} of {len(ref_logps)} are refused and nothing was stored"
            )
        columns = [keys, ref_logps, num_tokens, [device] * len(keys), [backend] * len(keys)]
        arrays = [pa.array(list(values), field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        self._write(pa.Table.from_arrays(arrays, schema=SCHEMA))

    def _write(self, table: pa.Table) -> str:
        self.fs.makedirs(self.path, exist_ok=True)
        about = f"{self.path}/numerics.json"
        if not self.fs.exists(about):
            self._put(about, json.dumps(asdict(self.numerics)).encode())
        sink = pa.BufferOutputStream()
        pq.write_table(table.sort_by("key"), sink, compression="zstd")
        shard = f"{self.path}/{uuid.uuid4().hex}.parquet"
        self._put(shard, sink.getvalue().to_pybytes())
        return shard

    def _put(self, path: str, data: bytes) -> None:
        """Object stores show an object once it is whole; a local file is moved to its name."""
        if "file" not in self.fs.protocol:
            self.fs.pipe_file(path, data)
            return
        part = f"{path}.{uuid.uuid4().hex}.part"
        self.fs.pipe_file(part, data)
        self.fs.mv(part, path)

    def shards(self) -> list[str]:
        """Paths of the shards, in name order."""
        self.fs.invalidate_cache()
        return sorted(self.fs.glob(f"{self.path}/*.parquet"))

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, some hundred thousand at a time, shard after shard.

        A shard that ``compact`` removed meanwhile is met again in the one that replaced it.
        """
        met: set[str] = set()
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

    def stats(self) -> dict[str, Any]:
        """Rows, shards, bytes, and what the values depend on."""
        shards = self.shards()
        return {
            "folder": self.path,
            "numerics": asdict(self.numerics),
            "rows": sum(batch.num_rows for batch in self.batches(["num_tokens"])),
            "shards": len(shards),
            "bytes": sum(int(self.fs.size(shard)) for shard in shards),
        }

    def verify(self, tolerance: float) -> dict[str, int]:
        """Read every row: how many there are, are not finite, or contradict another of the same key.

        Args:
            tolerance: nats a token by which two writers may differ.
        """
        seen: dict[bytes, float] = {}
        counts = {"rows": 0, "not_finite": 0, "contradictions": 0}
        for batch in self.batches(["key", "ref_logps", "num_tokens"]):
            for row in batch.to_pylist():
                counts["rows"] += 1
                counts["not_finite"] += not np.isfinite(row["ref_logps"])
                first = seen.setdefault(row["key"], row["ref_logps"])
                counts["contradictions"] += abs(first - row["ref_logps"]) > tolerance * row["num_tokens"]
        return counts

    def compact(self) -> dict[str, int]:
        """Rewrite all shards as one, a row a key; what others read or write meanwhile stays whole."""
        shards = self.shards()
        if len(shards) < 2:
            return {"shards": len(shards), "rows_removed": 0}
        table = pa.Table.from_batches(list(self.batches()), schema=SCHEMA)
        first = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        kept = first.group_by("key").aggregate([("row", "min")])["row_min"]
        self._write(table.take(kept))
        for shard in shards:
            with suppress(FileNotFoundError):  # another compaction was faster
                self.fs.rm_file(shard)
        return {"shards": 1, "rows_removed": table.num_rows - len(kept)}


def open_all(root: str) -> list[ReferenceStore]:
    """Every sub-store under ``root``.

    Raises:
        StoreError: there is none.
    """
    fs, path = fsspec.url_to_fs(root)
    stores = [
        ReferenceStore(root, Numerics(**json.loads(fs.cat_file(about))))
        for about in sorted(fs.glob(f"{path.rstrip('/')}/*/numerics.json"))
    ]
    if not stores:
        raise StoreError(f"{root}: holds no reference store")
    return stores
