"""Rows as tensors: where every token lies, what predicts it, and what it may see."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copg.lm.attention.dispatch import resolve_attention
from copg.lm.attention.layout import Layout, SharedRows, visible_keys
from copg.lm.config import RowConfig
from copg.lm.load import pick_device
from copg.lm.rows import ALONE, TokenGroup, plan_batches

Parts = list[tuple[int, int, Sequence[int]]]
"""What lies in a row: index of the group, 0 for its prompt or k for its completion k, token ids."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of equal length, ready for one forward."""

    input_ids: Tensor
    """[B, T]; padded at the end, or one flat row without padding."""
    position_ids: Tensor
    """[B, T]; a completion's start where its prompt ends."""
    attention_mask: Tensor | None
    """[B, 1, T, T] True where the query (third) sees the key (fourth); None where causal masks do."""
    layout: Layout | None
    """Of a flat row."""
    predictors: Tensor
    """[N] flat index into B*T of the state that predicts each completion token that is scored."""
    targets: Tensor
    """[N] those tokens."""
    completion: Tensor
    """[N] which completion a token belongs to, counted through the batch."""
    num_completions: int
    groups: tuple[int, ...]
    """Index of each group in the list the batch was made from; completions follow in its order."""
    longest: int
    """Tokens of the longest prompt and completion together."""
    lengths: tuple[int, ...]
    """Tokens of each row, without padding."""

    def to(self, device: torch.device) -> "RowBatch":
        """The same batch on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    @property
    def shared(self) -> SharedRows:
        """What masks of rows that share prompts are made of."""
        return SharedRows(self.position_ids, self.longest, self.layout, self.attention_mask)


def build_batch(
    groups: Sequence[TokenGroup], rows: Sequence[Sequence[int]], config: RowConfig | None = None
) -> RowBatch:
    """One batch of rows, each a list of indices into ``groups``, in the form of ``config``."""
    config = config or RowConfig()
    name = _attention(config)
    laid = lay_rows(groups, rows, config)
    lengths = tuple(sum(len(ids) for *_, ids in row) for row in laid)
    width = max(lengths)
    tokens, positions, owner, part = (np.full((len(laid), width), fill, np.int64) for fill in (0, 0, -1, 0))
    predictors: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for r, row in enumerate(laid):
        at = 0
        for index, k, ids in row:
            here, first = slice(at, at + len(ids)), len(groups[index].prompt_ids) if k else 0
            given = np.asarray(ids, np.int64)
            tokens[r, here], owner[r, here], part[r, here] = np.where(given < 0, ~given, given), index, k
            positions[r, here] = np.arange(first, first + len(ids))
            if k == 0:
                end_of_prompt = at + len(ids) - 1
            else:
                scored = given >= 0
                before = np.r_[end_of_prompt, at : at + len(ids) - 1] + r * width
                predictors.append(before[scored])
                targets.append(given[scored])
            at += len(ids)
    sizes = [len(ids) for ids in targets]
    order = tuple(index for row in rows for index in row)
    flat = tuple((len(groups[i].prompt_ids), tuple(map(len, groups[i].completion_ids))) for i in order)
    mask = visible_keys(torch.from_numpy(owner), torch.from_numpy(part))[:, None] if name == "mask" else None
    return RowBatch(
        input_ids=torch.from_numpy(tokens),
        position_ids=torch.from_numpy(positions),
        attention_mask=mask,
        layout=Layout(flat, name) if name not in ("mask", "") else None,
        predictors=torch.from_numpy(np.concatenate(predictors)),
        targets=torch.from_numpy(np.concatenate(targets)),
        completion=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        num_completions=len(sizes),
        groups=order,
        longest=max(groups[i].longest for i in order),
        lengths=lengths,
    )


def lay_rows(groups: Sequence[TokenGroup], rows: Sequence[Sequence[int]], config: RowConfig) -> list[Parts]:
    """What lies in each row of a batch; planned rows join where there is no padding."""

    def parts(index: int) -> Parts:
        texts = [groups[index].prompt_ids, *groups[index].completion_ids]
        return [(index, k, ids) for k, ids in enumerate(texts)]

    if config.form in ALONE:
        whole = [parts(index) for row in rows for index in row]
        return [[group[0], completion] for group in whole for completion in group[1:]]
    if _attention(config) != "mask":
        rows = [[index for row in rows for index in row]]
    return [[part for index in row for part in parts(index)] for row in rows]


def num_computed(groups: Sequence[TokenGroup], config: RowConfig) -> int:
    """Tokens that go through the model, padding included; the fewest possible are those of the groups."""
    total = 0
    for rows in plan_batches(groups, config):
        lengths = [sum(len(ids) for *_, ids in row) for row in lay_rows(groups, rows, config)]
        total += sum(lengths) if config.form == "plain" else len(lengths) * max(lengths)
    return total


def _attention(config: RowConfig) -> str:
    """Of rows that share prompts; empty where a row has one completion, which causal masks serve."""
    if config.form in ALONE:
        return ""
    return "mask" if config.form == "shared" else resolve_attention(config.attention, pick_device())
