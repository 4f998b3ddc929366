"""Attention of a flat row as dense pieces on the CPU: no score is computed that a mask would discard.

A prompt attends to itself causally; its completions attend to the whole prompt in one piece, and each to
itself causally. The two parts of a completion are joined by their log-sum-exp, and the backward pass of
each piece gets the joined output and log-sum-exp, which makes its gradients those of the whole. A group so
small that calls would cost more than scores is one piece with a mask.
"""

from typing import Any

import torch
from torch import Tensor

from copg.lm.attention.layout import Layout, visible_keys

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default

CALL_COST = 2**19
"""Scores times head width that take as long as the calls a piece costs, forward and backward (measured)."""

Runs = list[tuple[int, int]]
"""(count, length) of equal completions that follow one another."""


def split_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
    """[T, heads, d] from query, key and value of the same shape."""
    result: Tensor = _Split.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
    return result


def _pieces(layout: Layout, width: int, dtype: torch.dtype) -> list[tuple[int, int, Runs, Tensor | None]]:
    """Of each group: first token, tokens of the prompt, runs of completions, and a mask if it is small."""
    name = f"pieces {width} {dtype}"
    if name not in layout.prepared:
        layout.prepared[name] = [
            (start, prompt, runs, _small_mask(prompt, runs, width, dtype))
            for start, prompt, runs in layout.segments()
        ]
    found: list[tuple[int, int, Runs, Tensor | None]] = layout.prepared[name]
    return found


def _small_mask(prompt: int, runs: Runs, width: int, dtype: torch.dtype) -> Tensor | None:
    """[T, T] to be added to the scores of a group, 0 or minus infinity; None where pieces cost less."""
    lengths = [length for count, length in runs for _ in range(count)]
    total = prompt + sum(lengths)
    needed = prompt**2 / 2 + prompt * sum(lengths) + sum(length**2 for length in lengths) / 2
    if (total**2 - needed) * width > CALL_COST * (1 + len(runs)):
        return None
    part = torch.repeat_interleave(torch.arange(1 + len(lengths)), torch.tensor([prompt, *lengths]))
    visible = visible_keys(torch.zeros_like(part), part)
    return torch.zeros(total, total, dtype=dtype).masked_fill_(~visible, float("-inf"))


def _heads_first(x: Tensor, start: int, end: int, count: int = 1) -> Tensor:
    """[count, heads, (end - start) / count, d] view of tokens ``start`` to ``end``."""
    return x[start:end].view(count, -1, *x.shape[1:]).transpose(1, 2)


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
        pieces = _pieces(layout, query.shape[1] * query.shape[2], query.dtype)
        for start, prompt, runs, mask in pieces:
            at = first = start + prompt
            end = at + sum(count * length for count, length in runs)
            stop = at if mask is None else end
            q, k, v = (_heads_first(x, start, stop) for x in (query, key, value))
            o, s = _forward(q, k, v, 0.0, mask is None, attn_mask=mask, scale=scale)
            out[start:stop], lse[start:stop] = _tokens_first(o), _tokens_first(s)
            if mask is not None:
                continue
            o, s = _forward(_heads_first(query, at, end), k, v, 0.0, False, scale=scale)
            across, across_lse = _tokens_first(o), _tokens_first(s)
            for count, length in runs:
                last = at + count * length
                here = slice(at - first, last - first)
                mine = [_heads_first(x, at, last, count) for x in (query, key, value)]
                o, s = _forward(*mine, 0.0, True, scale=scale)
                joined = _join(across[here], across_lse[here], _tokens_first(o), _tokens_first(s))
                out[at:last], lse[at:last] = joined
                at = last
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.pieces, ctx.scale = pieces, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        tensors = (grads[0], query, key, value, out)
        totals = [torch.empty_like(out) for _ in range(3)]
        for start, prompt, runs, mask in ctx.pieces:
            at = start + prompt
            end = at + sum(count * length for count, length in runs)
            stop = at if mask is None else end
            g, q, k, v, o = (_heads_first(x, start, stop) for x in tensors)
            s = _heads_first(lse[..., None], start, stop)[..., 0]
            own = _backward(g, q, k, v, o, s, 0.0, mask is None, attn_mask=mask, scale=ctx.scale)
            for total, part in zip(totals, own, strict=True):
                total[start:stop] = _tokens_first(part)
            if mask is not None:
                continue
            g, q, _, _, o = (_heads_first(x, at, end) for x in tensors)
            s = _heads_first(lse[..., None], at, end)[..., 0]
            across = _backward(g, q, k, v, o, s, 0.0, False, scale=ctx.scale)
            totals[0][at:end] = _tokens_first(across[0])
            totals[1][start:at] += _tokens_first(across[1])
            totals[2][start:at] += _tokens_first(across[2])
            for count, length in runs:
                last = at + count * length
                s = _heads_first(lse[..., None], at, last, count)[..., 0]
                mine = [_heads_first(x, at, last, count) for x in tensors]
                own = _backward(*mine, s, 0.0, True, scale=ctx.scale)
                totals[0][at:last] += _tokens_first(own[0])
                totals[1][at:last], totals[2][at:last] = _tokens_first(own[1]), _tokens_first(own[2])
                at = last
        return *totals, None, None
