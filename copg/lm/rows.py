"""From groups to batches of tokens: each prompt once, its K completions after it, several groups together."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copg.errors import RecordError
from copg.lm.attention.dispatch import resolve_attention
from copg.lm.attention.layout import Layout, visible_keys
from copg.lm.batches import length_batches
from copg.lm.config import RowConfig
from copg.lm.load import pick_device


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """A prompt and its completions as token ids."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[Sequence[int]]
    id: str = ""
    """Of the group, for messages."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the group in a row: the prompt once, every completion."""
        return len(self.prompt_ids) + sum(map(len, self.completion_ids))


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of equal length, ready for one forward."""

    input_ids: Tensor
    """[B, T]; padded at the end, or one flat row without padding."""
    position_ids: Tensor
    """[B, T]; a completion's start where its prompt ends."""
    attention_mask: Tensor | None
    """[B, 1, T, T] True where the query (third) sees the key (fourth); None with a layout."""
    layout: Layout | None
    """Of a flat row; None with a mask."""
    predictors: Tensor
    """[N] flat index into B*T of the state that predicts each completion token."""
    targets: Tensor
    """[N] the completion tokens."""
    completion: Tensor
    """[N] which completion a token belongs to, counted through the batch."""
    num_completions: int
    groups: tuple[int, ...]
    """Index of each group in the list the batch was made from; completions follow in its order."""
    longest: int
    """Tokens of the longest prompt and completion together: what a sliding window must reach."""

    def to(self, device: torch.device) -> "RowBatch":
        """The same batch on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


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


def plan_batches(lengths: Sequence[int], config: RowConfig, ids: Sequence[str] = ()) -> list[list[list[int]]]:
    """Batches of rows of indices into ``lengths``, each index once.

    Args:
        lengths: tokens of each group.
        config: budgets and the attention, which decides whether rows are padded.
        ids: of the groups, for the message.

    Raises:
        RecordError: a group is longer than ``tokens_per_row``.
    """
    rows = pack_rows(lengths, config.tokens_per_row, ids)
    if resolve_attention(config.attention, pick_device()) != "mask":  # one row without padding
        budget = max(config.tokens_per_batch, max(lengths, default=0))
        return [[row] for row in pack_rows(lengths, budget)]
    width = [sum(lengths[i] for i in row) for row in rows]
    return [[rows[r] for r in batch] for batch in length_batches(width, config.tokens_per_batch)]


def build_batch(
    groups: Sequence[TokenGroup], rows: Sequence[Sequence[int]], attention: str = "auto"
) -> RowBatch:
    """One batch of rows, each a list of indices into ``groups``; the rows join where there is no padding."""
    name = resolve_attention(attention, pick_device())
    if name != "mask":
        rows = [[index for row in rows for index in row]]
    width = max(sum(groups[i].num_tokens for i in row) for row in rows)
    tokens, positions, owner, part = (np.full((len(rows), width), fill, np.int64) for fill in (0, 0, -1, 0))
    predictors: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for r, row in enumerate(rows):
        at = 0
        for index in row:
            prompt = groups[index].prompt_ids
            for k, ids in enumerate([prompt, *groups[index].completion_ids]):
                here, first = slice(at, at + len(ids)), len(prompt) if k else 0
                tokens[r, here], owner[r, here], part[r, here] = np.asarray(ids), index, k
                positions[r, here] = np.arange(first, first + len(ids))
                if k == 0:
                    end_of_prompt = at + len(ids) - 1
                else:
                    predictors.append(np.r_[end_of_prompt, at : at + len(ids) - 1] + r * width)
                    targets.append(tokens[r, here])
                at += len(ids)
    sizes = [len(ids) for ids in targets]
    order = tuple(index for row in rows for index in row)
    flat = tuple((len(groups[i].prompt_ids), tuple(map(len, groups[i].completion_ids))) for i in order)
    mask = visible_keys(torch.from_numpy(owner), torch.from_numpy(part))[:, None] if name == "mask" else None
    return RowBatch(
        input_ids=torch.from_numpy(tokens),
        position_ids=torch.from_numpy(positions),
        attention_mask=mask,
        layout=Layout(flat, name) if mask is None else None,
        predictors=torch.from_numpy(np.concatenate(predictors)),
        targets=torch.from_numpy(np.concatenate(targets)),
        completion=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        num_completions=len(sizes),
        groups=order,
        longest=max(prompt + max(completions) for prompt, completions in flat),
    )


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
    return [sorted(part) for part in pack_rows([len(ids) for ids in group.completion_ids], room)]


def take_completions(group: TokenGroup, chosen: Sequence[int]) -> TokenGroup:
    """The group with the ``chosen`` of its completions."""
    return TokenGroup(group.prompt_ids, [group.completion_ids[k] for k in chosen], group.id)
