"""Batches of sequences of like lengths."""

from collections.abc import Sequence
from typing import Any


def length_batches(
    lengths: Sequence[int], tokens_per_batch: int, ties: Sequence[Any] = ()
) -> list[list[int]]:
    """Indices in batches of like lengths, longest first, each of at most so many padded tokens.

    A sequence longer than a batch is a batch of its own. Sequences of one length stand in the order of
    ``ties``, one value each, then of their indices.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], ties[i] if ties else 0, i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= tokens_per_batch:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
