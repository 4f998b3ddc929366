"""The reference store: log pi_ref(y|x) of every completion ever met, computed once in its life.

It has a sub-folder for each combination of weights and precision.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from copg.digests import json_digest
from copg.stores.sorted_values import KEY_BYTES
from copg.stores.values import ValueKind, ValueStore

NUMERICS_VERSION = 1
"""Raised by hand when a change of ours moves log-probabilities by more than the tolerance."""

REFERENCES = ValueKind(
    about="numerics",
    schema=pa.schema(
        [
            pa.field("key", pa.binary(KEY_BYTES), nullable=False),
            pa.field("ref_logps", pa.float64(), nullable=False),
            pa.field("num_tokens", pa.int32(), nullable=False),
            pa.field("device", pa.dictionary(pa.int8(), pa.string()), nullable=False),
            pa.field("backend", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        ]
    ),
    tolerance=0.02,
    unit=lambda first, row: float(row["num_tokens"]),
)
"""Values in nats, tolerance in nats a token; ``backend`` is the name of the attention that computed them."""


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


def open_references(root: str, numerics: Numerics) -> ValueStore:
    """The log-probabilities under one reference, in one precision; nothing is created or read yet.

    Args:
        root: folder or URL (``s3://...``) of the store, shared by all references.
    """
    about = asdict(numerics)
    return ValueStore(REFERENCES, root, json_digest(about), about)
