"""What completions have in common beyond their prompt: a tree of segments, each of them computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST = 16
"""Tokens from which a common beginning is a segment of its own: what fewer save, more calls cost."""
MOST_LEVELS = 32
"""Of segments below the prompt; each costs one more piece of attention."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that some completions have in common after what they had in common before."""

    start: int
    """Position of its first token."""
    length: int
    """In tokens."""
    completions: tuple[int, ...]
    """Of which it is a part, by their places in the group; of the prompt all."""
    parent: int
    """Number of the segment that it continues; -1 of the prompt."""
    span: int = 1
    """Segments from it on that continue it, directly or not; itself included."""


def flat_segments(prompt: int, completions: Sequence[int]) -> tuple[Segment, ...]:
    """A prompt and completions that have nothing else in common, by their numbers of tokens."""
    each = [Segment(prompt, length, (k,), 0) for k, length in enumerate(completions)]
    return (Segment(0, prompt, tuple(range(len(each))), -1, 1 + len(each)), *each)


def find_branches(
    prompt: int,
    completions: Sequence[Sequence[int]],
    *,
    shortest: int = SHORTEST,
    most_levels: int = MOST_LEVELS,
) -> tuple[Segment, ...]:
    """The segments of a group, a parent before those that continue it; empty where the prompt is all.

    A token counts as the same whether it is scored or only read.

    Args:
        prompt: its tokens.
        completions: token ids; ``~id`` of a token that is only read.
        shortest: tokens of a common beginning, at least; it saves as many for each further completion.
        most_levels: of segments below the prompt.
    """
    whole = range(len(completions))
    if all(len(chosen) == 1 for chosen in _alike(_read(completions, shortest), whole, 0, shortest)):
        return ()
    ids = _read(completions, None)
    found = [Segment(0, prompt, tuple(whole), -1)]

    def continue_from(parent: int, members: Sequence[int], start: int, level: int) -> None:
        alike = _alike(ids, members, start, shortest)
        for chosen in alike if level < most_levels else [[k] for k in members]:
            end = _common(ids, chosen, start)
            if end == start:
                continue  # a completion that ends where others go on
            number = len(found)
            found.append(Segment(prompt + start, end - start, tuple(chosen), parent))
            if len(chosen) > 1:
                continue_from(number, chosen, end, level + 1)

    continue_from(0, whole, 0, 1)
    return tuple(_with_spans(found))


def _read(completions: Sequence[Sequence[int]], most: int | None) -> list[NDArray[np.int64]]:
    """Tokens as a model reads them, of each completion at most so many."""
    given = [np.asarray(ids[:most], np.int64) for ids in completions]
    return [np.where(ids < 0, ~ids, ids) for ids in given]


def _alike(
    ids: Sequence[NDArray[np.int64]], members: Sequence[int], start: int, shortest: int
) -> list[list[int]]:
    """Members by their next ``shortest`` tokens, in the order of the first of each; shorter ones alone."""
    found: dict[bytes | int, list[int]] = {}
    for k in members:
        following = ids[k][start : start + shortest]
        found.setdefault(following.tobytes() if len(following) == shortest else k, []).append(k)
    return list(found.values())


def _common(ids: Sequence[NDArray[np.int64]], members: Sequence[int], start: int) -> int:
    """Where the tokens that all members have in common end, of one member where it ends itself."""
    first = ids[members[0]]
    end = min(len(ids[k]) for k in members)
    for k in members[1:]:
        differing = np.flatnonzero(first[start:end] != ids[k][start:end])
        end = start + int(differing[0]) if len(differing) else end
    return end


def _with_spans(found: list[Segment]) -> list[Segment]:
    spans = [1] * len(found)
    for number in range(len(found) - 1, 0, -1):
        spans[found[number].parent] += spans[number]
    return [
        Segment(each.start, each.length, each.completions, each.parent, span)
        for each, span in zip(found, spans, strict=True)
    ]


def parting_completions(segments: Sequence[Segment], most: int) -> list[int]:
    """One completion that shares most beginnings, and of those that part from it one at each, the last first.

    Args:
        segments: of a group with branches.
        most: completions, at least two.
    """
    depths = _depths(segments)
    at = depths.index(max(depths))
    chosen, together = list(segments[at].completions[:2]), segments[at].completions
    while (at := segments[at].parent) >= 0 and len(chosen) < most:
        chosen += [k for k in segments[at].completions if k not in together][:1]
        together = segments[at].completions
    return sorted(chosen)


def count_levels(segments: Sequence[Segment]) -> int:
    """The most beginnings, one after the other, that a completion shares with others beyond the prompt."""
    return max(_depths(segments), default=0)


def _depths(segments: Sequence[Segment]) -> list[int]:
    """Of each segment, itself and those it continues that several completions share, the prompt apart."""
    depths: list[int] = []
    for each in segments:
        depths.append(depths[each.parent] + (len(each.completions) > 1) if depths else 0)
    return depths
