"""Attention of a flat row as dense pieces on the CPU: no score is computed that a mask would discard.

A segment attends to itself causally; all that continues it attends to the whole of it in one piece. What a
token gets of each is joined by their log-sum-exp, and the backward pass of each piece gets the joined output
and log-sum-exp, which makes its gradients those of the whole. A group so small that calls would cost more
than scores is one piece with a mask.
"""

from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from copg.lm.attention.layout import Layout, Spans, visible_keys

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default

CALL_COST = 2**19
"""Scores times head width that take as long as the calls a piece costs, forward and backward (measured)."""


class Piece(NamedTuple):
    """One call of the kernel."""

    queries: slice
    keys: slice
    """Those of the queries, which then see themselves causally, or all of what they continue."""
    num_alike: int = 1
    """Segments of equal length in ``queries``, each of which sees itself alone."""
    first: bool = False
    """Whether none before it has the same queries, or some of them."""
    mask: Tensor | None = None
    """[T, T] added to the scores, of a whole group."""

    @property
    def own(self) -> bool:
        """Whether the queries see themselves."""
        return self.queries == self.keys

    @property
    def scores(self) -> float:
        """That count."""
        queries: int = self.queries.stop - self.queries.start
        keys: int = self.keys.stop - self.keys.start
        return queries * keys / (2 * self.num_alike) if self.own else queries * keys


def split_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
    """[T, heads, d] from query, key and value of the same shape."""
    result: Tensor = _Split.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
    return result


def pieces_of(layout: Layout, width: int, dtype: torch.dtype, call_cost: float) -> list[Piece]:
    """The calls of a row, in an order in which what joins follows what it joins.

    Args:
        layout: of the row.
        width: of all heads together.
        dtype: of the queries.
        call_cost: scores times ``width`` that a call costs.
    """
    name = f"pieces {width} {dtype} {call_cost}"
    if name not in layout.prepared:
        found: list[Piece] = []
        for here, alone in layout.alone():
            pieces = _pieces(here.start, alone.groups[0])
            idle = alone.num_tokens**2 - sum(piece.scores for piece in pieces)
            if idle * width <= call_cost * (len(pieces) - 1):
                visible = visible_keys(*alone.segments())
                mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf"))
                pieces = [Piece(here, here, first=True, mask=mask)]
            found += pieces
        layout.prepared[name] = found
    result: list[Piece] = layout.prepared[name]
    return result


def _pieces(start: int, group: Spans) -> list[Piece]:
    """Of a group that begins at ``start``, without a mask."""
    found: list[Piece] = []
    starts = [start]
    for length, _ in group:
        starts.append(starts[-1] + length)
    ends_alike = groupby(range(len(group)), key=lambda n: group[n][0] if group[n][1] == 1 else (n,))
    for run in (list(each) for _, each in ends_alike):
        here = slice(starts[run[0]], starts[run[-1] + 1])
        found.append(Piece(here, here, len(run), first=run[0] == 0))
        if (span := group[run[0]][1]) > 1:
            found.append(Piece(slice(here.stop, starts[run[0] + span]), here, first=run[0] == 0))
    return found


def _heads_first(x: Tensor, here: slice, count: int) -> Tensor:
    """[count, heads, T / count, d] view of some tokens."""
    return x[here].view(count, -1, *x.shape[1:]).transpose(1, 2)


def _tokens_first(x: Tensor) -> Tensor:
    """[count * T, heads, ...] of [count, heads, T, ...]."""
    return x.transpose(1, 2).flatten(0, 1)


def _join(whole: Tensor, whole_lse: Tensor, own: Tensor, own_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the union of two sets of keys: outputs [T, heads, d], log-sum-exps [T, heads]."""
    lse = torch.logaddexp(whole_lse, own_lse)
    joined = whole * (whole_lse - lse).exp()[..., None] + own * (own_lse - lse).exp()[..., None]
    return joined, lse


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None
    ) -> Tensor:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        lse = torch.empty(query.shape[:2], dtype=torch.float32)
        pieces = pieces_of(layout, query.shape[1] * query.shape[2], query.dtype, CALL_COST)
        for piece in pieces:
            q, k, v = _take(piece, query, key, value)
            causal = piece.own and piece.mask is None
            found = [
                _tokens_first(x) for x in _forward(q, k, v, 0.0, causal, attn_mask=piece.mask, scale=scale)
            ]
            here = piece.queries
            out[here], lse[here] = found if piece.first else _join(out[here], lse[here], *found)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.pieces, ctx.scale = pieces, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        totals = [torch.empty_like(out) for _ in range(3)]
        for piece in ctx.pieces:
            q, k, v = _take(piece, query, key, value)
            g, o, s = (
                _heads_first(x, piece.queries, piece.num_alike) for x in (grads[0], out, lse[..., None])
            )
            causal = piece.own and piece.mask is None
            found = _backward(g, q, k, v, o, s[..., 0], 0.0, causal, attn_mask=piece.mask, scale=ctx.scale)
            places = (piece.queries, piece.keys, piece.keys)
            begun = (not piece.first, not piece.own, not piece.own)  # keys are met by themselves first
            for total, here, part, add in zip(totals, places, found, begun, strict=True):
                if add:
                    total[here] += _tokens_first(part)
                else:
                    total[here] = _tokens_first(part)
        return *totals, None, None


def _take(piece: Piece, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """[count, heads, T, d] queries, keys and values of a piece."""
    places = (piece.queries, piece.keys, piece.keys)
    return [
        _heads_first(x, here, piece.num_alike) for x, here in zip((query, key, value), places, strict=True)
    ]
