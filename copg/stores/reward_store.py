"""The reward store: every value a reward ever gave, so that it is computed once in its life.

It has a sub-folder for each reward with its settings and code.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from copg.records import Prompt
from copg.stores.sorted_values import KEY_BYTES
from copg.stores.values import ValueKind, ValueStore

ROWS_PER_SHARD = 65_536

REWARDS = ValueKind(
    about="reward",
    schema=pa.schema(
        [
            pa.field("key", pa.binary(KEY_BYTES), nullable=False),
            pa.field("reward", pa.float64(), nullable=False),
        ]
    ),
    tolerance=1e-3,
    unit=lambda first, row: max(1.0, abs(first)),
)
"""The tolerance is relative, and absolute near 0: how far a value may move with the batch and the device."""


def reward_key(prompt: Prompt | None, completion: str, columns: Mapping[str, Any], group: str = "") -> bytes:
    """128-bit digest of what a value depends on beside the reward itself.

    Args:
        prompt: None when the reward does not read it.
        columns: those the reward reads, plain values.
        group: digest of all completions of the prompt, when the reward looks at them.
    """
    text = json.dumps([prompt, completion, columns, group], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def open_rewards(
    root: str, digest: str, about: Mapping[str, Any] | None = None, *, rows_per_shard: int = ROWS_PER_SHARD
) -> ValueStore:
    """The values of one reward, read as they are now.

    Args:
        root: folder or URL (``s3://...``) of the store, shared by all rewards.
        digest: of the reward with its settings, code and weights.
        about: written beside the shards, for people.
        rows_per_shard: how many new values wait in memory before they are written.

    Raises:
        StoreError: a shard cannot be read.
    """
    store = ValueStore(REWARDS, root, digest, about or {}, rows_per_shard=rows_per_shard)
    store.refresh()
    return store
