"""Which groups share a row, and which rows a batch: plans over lengths, before a token is laid."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copg.errors import RecordError
from copg.lm.attention.dispatch import resolve_attention
from copg.lm.batches import length_batches
from copg.lm.branches import Segment, count_levels, find_branches, flat_segments
from copg.lm.config import RowConfig
from copg.lm.load import pick_device

ALONE = ("alone", "plain")
"""Forms in which a completion shares its row with its prompt alone."""


def num_scored(ids: Sequence[int]) -> int:
    """Tokens of a completion that are scored: those that are only read stand as their complements."""
    return int((np.asarray(ids) >= 0).sum())


@dataclass(frozen=True)
class TokenGroup:
    """A prompt and its completions as token ids; a token that is read and not scored is ``~id``."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[Sequence[int]]
    id: str = ""
    """Of the group, for messages."""

    @cached_property
    def branches(self) -> tuple[Segment, ...]:
        """Its segments, where completions have more in common than the prompt; else empty."""
        return find_branches(len(self.prompt_ids), self.completion_ids)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What a row has of it: the prompt, then each beginning in common before what follows it."""
        return self.branches or flat_segments(len(self.prompt_ids), [len(ids) for ids in self.completion_ids])

    def segment_ids(self, segment: Segment, completion: int) -> Sequence[int]:
        """Tokens of a segment as one of its completions has them: others may score what it only reads."""
        if segment.parent < 0:
            return self.prompt_ids
        start = segment.start - len(self.prompt_ids)
        return self.completion_ids[completion][start : start + segment.length]

    @property
    def levels(self) -> int:
        """How often completions part beyond the prompt, along one of them, after a beginning in common."""
        return count_levels(self.branches)

    @property
    def num_tokens(self) -> int:
        """Tokens of the group in a row: the prompt and every beginning that completions share once."""
        if self.branches:
            return sum(segment.length for segment in self.branches)
        return len(self.prompt_ids) + sum(map(len, self.completion_ids))

    @property
    def longest(self) -> int:
        """Tokens of the prompt and the longest completion together."""
        return len(self.prompt_ids) + max(map(len, self.completion_ids), default=0)


def pack_rows(lengths: Sequence[int], tokens_per_row: int, ids: Sequence[str] = ()) -> list[list[int]]:
    """Best-fit decreasing: the rows as lists of indices into ``lengths``; deterministic, nothing is split.

    Raises:
        RecordError: a group is longer than a row.
    """
    budget = tokens_per_row or max(lengths, default=0)
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[index] > budget:
            name = ids[index] if ids and ids[index] else index
            raise RecordError(
                f"group {name} has {lengths[index]} tokens, over tokens_per_row={budget}; raise that, or set "
                "split_groups to train on it in parts"
            )
        best = bisect.bisect_left(room, (lengths[index], -1))
        left, row = room.pop(best) if best < len(room) else (budget, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        bisect.insort(room, (left - lengths[index], row))
    return rows


def plan_batches(groups: Sequence[TokenGroup], config: RowConfig) -> list[list[list[int]]]:
    """Batches of rows of indices into ``groups``, each index once.

    Args:
        groups: what is to be computed.
        config: budgets, the form of rows, and the attention, which decides whether they are padded.

    Raises:
        RecordError: a group is longer than ``tokens_per_row``.
    """
    if config.form in ALONE:
        return _plan_alone(groups, config.tokens_per_batch if config.form == "alone" else 1)
    lengths = [group.num_tokens for group in groups]
    rows = pack_rows(lengths, config.tokens_per_row, [group.id for group in groups])
    if config.form == "shared":
        return [[[i] for i in batch] for batch in length_batches(lengths, config.tokens_per_batch)]
    if resolve_attention(config.attention, pick_device()) != "mask":  # one row without padding
        budget = max(config.tokens_per_batch, max(lengths, default=0))
        return [[row] for row in pack_rows(lengths, budget)]
    width = [sum(lengths[i] for i in row) for row in rows]
    return [[rows[r] for r in batch] for batch in length_batches(width, config.tokens_per_batch)]


def _plan_alone(groups: Sequence[TokenGroup], tokens_per_batch: int) -> list[list[list[int]]]:
    """Groups of like lengths together, none of them split: a row a completion, as long as the longest."""
    batches: list[list[list[int]]] = []
    rows = width = 0
    for i in sorted(range(len(groups)), key=lambda i: (-groups[i].longest, i)):
        rows += len(groups[i].completion_ids)
        if not batches or rows * width > tokens_per_batch:
            rows, width = len(groups[i].completion_ids), groups[i].longest
            batches.append([])
        batches[-1].append([i])
    return batches


def split_group(group: TokenGroup, tokens_per_row: int) -> list[list[int]]:
    """Completions of a group larger than a row, as parts that fit one beside the prompt.

    Raises:
        RecordError: the prompt and one completion together are longer than a row.
    """
    room = tokens_per_row - len(group.prompt_ids)
    longest = max(map(len, group.completion_ids))
    if longest > room:
        raise RecordError(
            f"group {group.id}: prompt and one completion have {len(group.prompt_ids) + longest} tokens, "
            f"over tokens_per_row={tokens_per_row}: a completion is never cut"
        )
    fitting = _fitting(group, room)
    packed = pack_rows([tokens for _, tokens in fitting], room)
    return [sorted(k for i in part for k in fitting[i][0]) for part in packed]


def _fitting(group: TokenGroup, room: int) -> list[tuple[Sequence[int], int]]:
    """Completions that share beginnings and fit together, or one, with their tokens beyond the prompt."""
    segments, found, n = group.segments, list[tuple[Sequence[int], int]](), 1
    while n < len(segments):
        each = segments[n]
        within = segments[n : n + each.span]
        tokens = each.start + sum(part.length for part in within) - len(group.prompt_ids)
        if len(each.completions) == 1 or tokens <= room:
            found.append((each.completions, tokens))
            n += each.span
        else:
            go_on = {k for part in within[1:] for k in part.completions}
            ended = [k for k in each.completions if k not in go_on]
            found += [((k,), len(group.completion_ids[k])) for k in ended]
            n += 1
    return found


def row_shares(group: TokenGroup, config: RowConfig) -> list[list[int]]:
    """Completions of a group that share a row: all of them, unless it is larger and may be split."""
    if config.split_groups and group.num_tokens > config.tokens_per_row:
        return split_group(group, config.tokens_per_row)
    return [list(range(len(group.completion_ids)))]


def take_completions(group: TokenGroup, chosen: Sequence[int]) -> TokenGroup:
    """The group with the ``chosen`` of its completions."""
    return TokenGroup(group.prompt_ids, [group.completion_ids[k] for k in chosen], group.id)
