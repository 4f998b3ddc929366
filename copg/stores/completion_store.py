"""The store of completions: every one that was ever drawn for a prompt, so that it is drawn once in its life.

It has a sub-folder for each sampler: a model or endpoint with its temperature, top-p, seed and length.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copg.digests import json_digest
from copg.records import MESSAGES, SETTINGS, TOOLS, Prompt
from copg.stores.sorted_values import KEY_BYTES
from copg.stores.values import ValueKind, ValueStore

ROWS_PER_SHARD = 4096
FLUSH_EVERY_S = 10.0
"""Seconds of drawing that a killed process can lose, beside what was under way."""

COMPLETIONS = ValueKind(
    about="sampler",
    schema=pa.schema(
        [
            pa.field("key", pa.binary(KEY_BYTES), nullable=False),
            pa.field("sample", pa.float64(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("finished", pa.bool_(), nullable=False),
            pa.field("num_tokens", pa.int32(), nullable=False),
        ]
    ),
    tolerance=0.0,
    unit=lambda first, row: 1.0,
)
"""``sample``: which of its prompt's it is, from 0; ``num_tokens`` is 0 where an endpoint drew it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A completion as it was drawn."""

    text: str
    finished: bool
    num_tokens: int = 0
    """With the token that ended it; 0 where nobody told."""


def drawn_key(prompt: Prompt, columns: Mapping[str, Any], sample: int) -> bytes:
    """128-bit digest of what a sampler is asked.

    Args:
        prompt: text or messages.
        columns: of the record; those count that a chat template is given.
        sample: which of the prompt's completions, from 0.
    """
    asked = {name: columns[name] for name in (TOOLS, SETTINGS, MESSAGES) if name in columns}
    for name in asked.keys() - {SETTINGS}:  # a template writes these in their order
        asked[name] = json.dumps(asked[name])
    text = json.dumps([prompt, asked, sample], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def open_completions(root: str, sampler: Mapping[str, Any]) -> ValueStore:
    """What one sampler drew; nothing is created or read yet.

    Args:
        root: folder or URL (``s3://...``) of the store, shared by all samplers.
        sampler: all that a completion depends on beside its prompt and number.
    """
    return ValueStore(
        COMPLETIONS,
        root,
        json_digest(dict(sampler)),
        sampler,
        rows_per_shard=ROWS_PER_SHARD,
        flush_every_s=FLUSH_EVERY_S,
    )


def read_drawn(store: ValueStore, keys: Collection[bytes]) -> dict[bytes, Drawn]:
    """Those of ``keys`` that are on the disk; of several of one key the one that every reader takes.

    Raises:
        StoreError: a shard cannot be read.
    """
    wanted, found = set(keys), dict[bytes, Drawn]()
    values = pa.array(sorted(wanted), COMPLETIONS.schema.field("key").type)
    for batch in store.shards.batches() if wanted else ():
        here = np.flatnonzero(pc.is_in(batch["key"], value_set=values))
        for row in batch.take(pa.array(here)).to_pylist():
            found.setdefault(row["key"], Drawn(row["text"], row["finished"], row["num_tokens"]))
    return found
