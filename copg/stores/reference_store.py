"""The reference store: log pi_ref(y|x) of every completion ever met, computed once in its life.

A store is a folder (local, or an object store by URL) of append-only Parquet shards, one sub-folder for each
combination of weights and precision. Writers never touch one another's shards, so any number may write.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from copg.digests import json_digest
from copg.errors import StoreError
from copg.stores.shards import KEY_BYTES, Shards, Values

NUMERICS_VERSION = 1
"""Raised by hand when a change of ours moves log-probabilities by more than the tolerance."""

SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(KEY_BYTES), nullable=False),
        pa.field("ref_logps", pa.float64(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("device", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("backend", pa.dictionary(pa.int8(), pa.string()), nullable=False),
    ]
)


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


class ReferenceStore(Shards):
    """Log-probabilities under one reference and precision, in one folder of a store.

    Once something was looked up, all values are in memory, at 24 bytes each.
    """

    schema, value, scale_columns = SCHEMA, "ref_logps", ("num_tokens",)
    about_file, about_name = "numerics.json", "numerics"

    def __init__(self, root: str, numerics: Numerics) -> None:
        """Open, without creating anything.

        Args:
            root: folder or URL (``s3://...``) of the store, shared by all references.
            numerics: which reference, in which precision.
        """
        fs, path = fsspec.url_to_fs(root)
        super().__init__(fs, f"{path.rstrip('/')}/{json_digest(asdict(numerics))[:20]}")
        self.numerics = numerics
        self._values = Values(self)

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The stored values, in nats, of those ``keys`` that are there, whoever wrote them meanwhile.

        The first look-up reads every shard, a later one those that were added since.

        Raises:
            StoreError: a shard cannot be read.
        """
        self._values.refresh()
        found = zip(keys, self._values.get(keys), strict=True)
        return {key: value for key, value in found if value is not None}

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
        self.write(pa.Table.from_arrays(arrays, schema=SCHEMA), asdict(self.numerics))

    def scale(self, first: float, row: Mapping[str, Any]) -> float:
        """Tokens: the tolerance is in nats a token."""
        return float(row["num_tokens"])


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
