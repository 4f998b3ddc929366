"""Prompts that stand in two splits: impossible by construction, and looked for all the same."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Ids = Mapping[str, Sequence[pa.Array]]
"""Of each split's prompts."""


def count_leaks(ids: Ids, near_ids: Ids) -> dict[str, np.ndarray]:
    """For each two splits, the prompts that are in both: equal ones, and nearly equal ones."""
    pairs = list(combinations(ids, 2))
    shared = np.array([_common(ids[one], ids[other]) for one, other in pairs])
    near = np.array([_common(near_ids[one], near_ids[other]) for one, other in pairs])
    return {"shared_prompts": shared, "near_prompts": near - shared}


def _common(one: Sequence[pa.Array], other: Sequence[pa.Array]) -> int:
    small, large = sorted((one, other), key=lambda arrays: sum(map(len, arrays)))
    if not small or not large:
        return 0
    known = pa.chunked_array(small).combine_chunks()
    return sum(int(pc.sum(pc.is_in(array, value_set=known)).as_py() or 0) for array in large)
