"""Rows as tensors: where every token lies, what predicts it, and what it may see."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copg.lm.attention.dispatch import resolve_attention
from copg.lm.attention.layout import Layout, SharedRows, visible_keys
from copg.lm.branches import Segment
from copg.lm.config import RowConfig
from copg.lm.load import pick_device
from copg.lm.rows import ALONE, TokenGroup, plan_batches, row_shares, take_completions

Parts = list[tuple[int, tuple[Segment, ...]]]
"""What lies in a row: index of a group, and segments of it, a parent before those that continue it."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of equal length, ready for one forward."""

    input_ids: Tensor
    """[B, T]; padded at the end, or one flat row without padding."""
    position_ids: Tensor
    """[B, T]; a segment's start where that ends which it continues."""
    attention_mask: Tensor | None
    """[B, 1, T, T] True where the query (third) sees the key (fourth); None where causal masks do."""
    layout: Layout | None
    """Of a flat row."""
    predictors: Tensor
    """[M] flat index into B*T of the state that predicts each token that a completion scores."""
    targets: Tensor
    """[M] those tokens."""
    token: Tensor | None
    """[N] which of them is each scored token of each completion in turn; None where no completion shares any,
    and N is M."""
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

    def of_completions(self, values: Tensor) -> Tensor:
        """[N, ...] of the scored tokens of each completion in turn, from [M, ...] of the targets."""
        return values if self.token is None else values.index_select(0, self.token)

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
    order = tuple(index for row in rows for index in row)
    lengths = _lengths(laid)
    num_segments = sum(len(segments) for row in laid for _, segments in row)
    shape = len(laid), max(lengths)
    fills = (0, 0, num_segments, num_segments + 1)  # padding sees padding alone
    tokens, positions, number, end = (np.full(shape[0] * shape[1], fill, np.int64) for fill in fills)
    scored = _Scored([len(groups[i].completion_ids) for i in order])
    first_of = dict(zip(order, scored.firsts, strict=True))
    first = 0  # segment of a group, counted through the batch
    for r, row in enumerate(laid):
        at = r * shape[1]
        for index, segments in row:
            lasts: list[int] = []  # places of the last tokens of the segments so far
            for n, segment in enumerate(segments):
                here = slice(at, at + segment.length)
                given = _given(groups[index], segment)
                tokens[here] = np.where(given[0] < 0, ~given[0], given[0])
                positions[here] = np.arange(segment.start, segment.start + segment.length)
                number[here], end[here] = first + n, first + n + segment.span
                if lasts:
                    before = np.r_[lasts[segment.parent], at : at + segment.length - 1]
                    scored.add([first_of[index] + k for k in segment.completions], before, given)
                at += segment.length
                lasts.append(at - 1)
            first += len(segments)
    spans = tuple(tuple((each.length, each.span) for each in segments) for _, segments in laid[0])
    by_row = [torch.from_numpy(each).view(shape) for each in (tokens, positions, number, end)]
    mask = visible_keys(*by_row[2:])[:, None] if name == "mask" else None
    return RowBatch(
        input_ids=by_row[0],
        position_ids=by_row[1],
        attention_mask=mask,
        layout=Layout(spans, name) if name not in ("mask", "") else None,
        predictors=torch.from_numpy(np.concatenate(scored.predictors)),
        targets=torch.from_numpy(np.concatenate(scored.targets)),
        token=scored.token,
        completion=torch.from_numpy(np.repeat(np.arange(len(scored.sizes)), scored.sizes)),
        num_completions=len(scored.sizes),
        groups=order,
        longest=max(groups[i].longest for i in order),
        lengths=lengths,
    )


def _given(group: TokenGroup, segment: Segment) -> list[np.ndarray]:
    """[T] token ids of a segment as each of its completions has them; of a prompt once."""
    having = segment.completions if segment.parent >= 0 else segment.completions[:1]
    return [np.asarray(group.segment_ids(segment, k), np.int64) for k in having]


class _Scored:
    """The scored tokens of a batch, what predicts them, and whose they are."""

    def __init__(self, num_completions: Sequence[int]) -> None:
        """Begin with nothing, of groups of so many completions."""
        self.firsts = np.cumsum([0, *num_completions])[:-1].tolist()
        """Number of the first completion of each group."""
        self.predictors: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []
        self._count = 0
        self._several = False
        self._of: list[list[np.ndarray]] = [[] for _ in range(sum(num_completions))]

    def add(self, completions: Sequence[int], before: np.ndarray, given: Sequence[np.ndarray]) -> None:
        """Add a segment.

        Args:
            completions: that it is a part of, by their numbers.
            before: [T] place of the state that predicts each of its tokens.
            given: [T] its tokens as each of them has it.
        """
        any_scored = np.logical_or.reduce([ids >= 0 for ids in given])
        self.predictors.append(before[any_scored])
        self.targets.append(np.max(given, axis=0)[any_scored])  # the id, not its complement
        place = self._count - 1 + np.cumsum(any_scored)
        for k, ids in zip(completions, given, strict=True):
            self._of[k].append(place[ids >= 0])
        self._count += int(any_scored.sum())
        self._several |= len(completions) > 1

    @property
    def sizes(self) -> list[int]:
        """Scored tokens of each completion."""
        return [sum(map(len, each)) for each in self._of]

    @property
    def token(self) -> Tensor | None:
        """See ``RowBatch.token``."""
        if not self._several:
            return None
        return torch.from_numpy(np.concatenate([part for each in self._of for part in each]))


def lay_rows(groups: Sequence[TokenGroup], rows: Sequence[Sequence[int]], config: RowConfig) -> list[Parts]:
    """What lies in each row of a batch; planned rows join where there is no padding."""
    if config.form in ALONE:
        whole = [index for row in rows for index in row]
        return [[(index, alone)] for index in whole for alone in _alone(groups[index])]
    if _attention(config) != "mask":
        rows = [[index for row in rows for index in row]]
    return [[(index, groups[index].segments) for index in row] for row in rows]


def _alone(group: TokenGroup) -> list[tuple[Segment, ...]]:
    """Each completion with its prompt."""
    prompt = len(group.prompt_ids)
    return [
        (Segment(0, prompt, (k,), -1, 2), Segment(prompt, len(ids), (k,), 0))
        for k, ids in enumerate(group.completion_ids)
    ]


def _lengths(laid: Sequence[Parts]) -> tuple[int, ...]:
    """Tokens of each row, without padding."""
    return tuple(sum(each.length for _, segments in row for each in segments) for row in laid)


def num_computed(groups: Sequence[TokenGroup], config: RowConfig) -> int:
    """Tokens that go through the model, padding included; the fewest possible are those of the groups."""
    total = 0
    pieces = [take_completions(group, chosen) for group in groups for chosen in row_shares(group, config)]
    for rows in plan_batches(pieces, config):
        lengths = _lengths(lay_rows(pieces, rows, config))
        total += sum(lengths) if config.form == "plain" else len(lengths) * max(lengths)
    return total


def _attention(config: RowConfig) -> str:
    """Of rows that share prompts; empty where a row has one completion, which causal masks serve."""
    if config.form in ALONE:
        return ""
    return "mask" if config.form == "shared" else resolve_attention(config.attention, pick_device())
