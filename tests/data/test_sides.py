"""Sides of the split: a prompt's own, or its cluster's, and what a shared prompt ties together."""

import numpy as np
import pyarrow as pa

from copg.data.columns import RECORD_SCHEMA
from copg.data.sides import Sides, cluster_digest
from copg.records import SPLITS, Group, assign_split, cluster_of

FRACTIONS = {"select_fraction": 0.3, "gate_fraction": 0.3}


def key(name: str) -> bytes:
    return cluster_digest(["of a test", name])


def split(*digests: bytes) -> int:
    """Of the smallest of the digests."""
    return SPLITS.index(assign_split(min(digests).hex(), **FRACTIONS))


def splits(pairs: list[tuple[bytes, bytes]], *asked: bytes) -> list[int]:
    """Of the prompts asked for, after records with these ids and sides, in two batches."""
    sides = Sides()
    for part in (pairs[::2], pairs[1::2]):
        fields = [RECORD_SCHEMA.field(name) for name in ("id", "side")]
        columns = [pa.array(column, pa.binary(16)) for column in zip(*part, strict=True)]
        if columns:
            sides.add(pa.record_batch(columns, schema=pa.schema(fields)))
    return list(sides.splits_of(pa.array(list(asked), pa.binary(16)), **FRACTIONS))


PROMPTS = [key(f"p{n}") for n in range(30)]


def test_without_clusters_each_prompt_is_on_its_own_side() -> None:
    assert splits([(p, p) for p in PROMPTS], *PROMPTS) == [split(p) for p in PROMPTS]


def test_members_of_a_cluster_are_on_its_side_and_others_stay() -> None:
    cluster = cluster_digest("doc 7")
    pairs = [(p, cluster if n < 10 else p) for n, p in enumerate(PROMPTS)]
    assert splits(pairs, *PROMPTS) == [split(cluster)] * 10 + [split(p) for p in PROMPTS[10:]]


def test_clusters_that_share_a_prompt_become_one_over_any_distance() -> None:
    # a chain: prompt n is in clusters n and n + 1
    clusters = [cluster_digest(n) for n in range(31)]
    pairs = [(p, clusters[n + k]) for k in (0, 1) for n, p in enumerate(PROMPTS)]
    np.random.default_rng(0).shuffle(pairs)
    assert splits(pairs, *PROMPTS) == [split(*clusters)] * 30


def test_what_follows_in_a_conversation_is_on_the_side_of_its_beginning_wherever_that_is() -> None:
    root, below, lone = PROMPTS[:3]
    assert splits([(root, root), (below, root), (lone, lone)], root, below) == [split(root)] * 2
    # the beginning stands in a document as well, and takes what follows with it
    document = cluster_digest("doc")
    found = splits([(below, root), (root, document)], root, below, lone)
    assert found == [split(root, document)] * 2 + [split(lone)]


def test_equal_values_of_a_cluster_column_are_one_cluster() -> None:
    assert cluster_digest({"a": 1, "b": 2}) == cluster_digest({"b": 2, "a": 1})
    assert len({cluster_digest(value) for value in (1, [1], None, 1.5, True)}) == 5


def test_a_number_and_the_text_that_spells_it_are_one_cluster() -> None:
    alike = [cluster_digest(value) for value in (7, 7.0, "7")]
    assert len(set(alike)) == 1
    others = [cluster_digest(value) for value in (7, 8, 7.5, "7.5", "07", "seven", True, ["7"], float("inf"))]
    assert len(set(others)) == len(others)
    group = Group("a", "p", [], {"document": 7, "in": {"a": "7"}})
    assert cluster_of(group, "document") == cluster_of(group, "in.a") == '"7"'
