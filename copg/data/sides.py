"""On which side of the split a prompt is: its own, or that of the cluster whose members belong together."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copg.records import SPLITS, assign_split, cluster_text


class Sides:
    """Remembers which prompts have a cluster; clusters that share a prompt become one.

    Memory: 32 bytes a record with a cluster, none for others.
    """

    def __init__(self) -> None:
        self._pairs: list[pa.Table] = []
        self._side_of: tuple[pa.Array, pa.Array] | None = None

    def add(self, records: pa.RecordBatch) -> None:
        """Note the rows of ``RECORD_SCHEMA`` whose ``side`` is not their own ``id``."""
        apart = pc.not_equal(records["id"], records["side"])
        if pc.any(apart).as_py():
            pairs = pa.Table.from_batches([records.select(["id", "side"])]).filter(apart)
            self._pairs.append(pairs.group_by(["id", "side"]).aggregate([]).combine_chunks())

    def splits_of(self, ids: pa.Array, *, select_fraction: float, gate_fraction: float) -> np.ndarray:
        """[G] the split of each prompt, as its place in ``SPLITS``; complete once every record was added.

        Args:
            ids: of prompts, 16 bytes each.
        """
        if self._pairs and self._side_of is None:
            self._side_of = _join(pa.concat_tables(self._pairs))
        sides = ids
        if self._side_of is not None:
            known, side = self._side_of
            sides = pc.coalesce(side.take(pc.index_in(ids, value_set=known)), ids)
        fractions = {"select_fraction": select_fraction, "gate_fraction": gate_fraction}
        return np.array(
            [SPLITS.index(assign_split(side.hex(), **fractions)) for side in sides.to_pylist()], np.int64
        )


def _join(pairs: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Each prompt that has a cluster, and the smallest digest among those it is tied to, over any distance.

    A side may be a prompt itself, that of its conversation's beginning: then it is tied to itself.
    """
    own = pa.table({"id": pairs["side"], "side": pairs["side"]}, schema=pairs.schema)
    pairs = pa.concat_tables([pairs, own.group_by(["id", "side"]).aggregate([])])
    ids, sides = (pairs[name].combine_chunks().dictionary_encode() for name in ("id", "side"))
    prompt, cluster = ids.indices.to_numpy(), sides.indices.to_numpy()
    order = pc.array_sort_indices(sides.dictionary).to_numpy()
    label = np.empty(len(order), np.int64)
    label[order] = np.arange(len(order))  # by rank: the smallest digest stands for all
    while True:
        of_prompt = np.full(len(ids.dictionary), len(order), np.int64)
        np.minimum.at(of_prompt, prompt, label[cluster])
        joined = label.copy()
        np.minimum.at(joined, cluster, of_prompt[prompt])
        if (joined == label).all():
            return ids.dictionary, sides.dictionary.take(pa.array(order[of_prompt]))
        label = joined


def cluster_digest(value: Any) -> bytes:
    """What stands for a document, conversation or template: equal for equal values of its column."""
    return hashlib.sha256(f"cluster\n{cluster_text(value)}".encode("utf-8", "surrogatepass")).digest()[:16]
