"""Attention of a flat row as dense pieces on the CPU: no mask, and no score that a mask would discard.

A prompt attends to itself causally; its completions attend to the whole prompt in one piece, and each to
itself causally. The two parts of a completion are joined by their log-sum-exp, and the backward pass of
each piece gets the joined output and log-sum-exp, which makes its gradients those of the whole.
"""

from typing import Any

import torch
from torch import Tensor

from copg.attention.layout import Layout

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def split_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
    """[T, heads, d] from query, key and value of the same shape."""
    result: Tensor = _Split.apply(query, key, value, layout, scale)  # type: ignore[no-untyped-call]
    return result


def _heads_first(x: Tensor, start: int, end: int, count: int = 1) -> Tensor:
    """[count, heads, (end - start) / count, d] view of tokens ``start`` to ``end``."""
    return x[start:end].view(count, -1, *x.shape[1:]).transpose(1, 2)


def _join(whole: Tensor, whole_lse: Tensor, own: Tensor, own_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the union of two sets of keys: outputs [H, T, d], log-sum-exps [H, T]."""
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
        for start, prompt, runs in layout.segments():
            at = start + prompt
            q, k, v = (_heads_first(x, start, at) for x in (query, key, value))
            out_of_prompt, lse_of_prompt = _forward(q, k, v, 0.0, True, scale=scale)
            out[start:at] = out_of_prompt[0].transpose(0, 1)
            lse[start:at] = lse_of_prompt[0].T
            end = at + sum(count * length for count, length in runs)
            across, across_lse = _forward(_heads_first(query, at, end), k, v, 0.0, False, scale=scale)
            first = at
            for count, length in runs:
                last = at + count * length
                mine = [_heads_first(x, at, last, count) for x in (query, key, value)]
                own, own_lse = _forward(*mine, 0.0, True, scale=scale)
                here = slice(at - first, last - first)
                joined, joined_lse = _join(
                    across[0].transpose(0, 1)[here],
                    across_lse[0].T[here],
                    own.transpose(1, 2).flatten(0, 1),
                    own_lse.transpose(1, 2).flatten(0, 1),
                )
                out[at:last], lse[at:last] = joined, joined_lse
                at = last
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        tensors = (grads[0], query, key, value, out)
        grad_q, grad_k, grad_v = (torch.empty_like(out) for _ in range(3))
        for start, prompt, runs in ctx.layout.segments():
            at = start + prompt
            end = at + sum(count * length for count, length in runs)
            g, q, k, v, o = (_heads_first(x, start, at) for x in tensors)
            own = _backward(g, q, k, v, o, lse[start:at].T[None], 0.0, True, scale=ctx.scale)
            g, q, _, _, o = (_heads_first(x, at, end) for x in tensors)
            across = _backward(g, q, k, v, o, lse[at:end].T[None], 0.0, False, scale=ctx.scale)
            grad_q[start:at] = own[0][0].transpose(0, 1)
            grad_q[at:end] = across[0][0].transpose(0, 1)
            torch.add(own[1][0].transpose(0, 1), across[1][0].transpose(0, 1), out=grad_k[start:at])
            torch.add(own[2][0].transpose(0, 1), across[2][0].transpose(0, 1), out=grad_v[start:at])
            for count, length in runs:
                last = at + count * length
                mine = [_heads_first(x, at, last, count) for x in tensors]
                own_lse = lse[at:last].unflatten(0, (count, -1)).transpose(1, 2)
                own = _backward(*mine, own_lse, 0.0, True, scale=ctx.scale)
                flat = [x.transpose(1, 2).flatten(0, 1) for x in own]
                grad_q[at:last] += flat[0]
                grad_k[at:last], grad_v[at:last] = flat[1], flat[2]
                at = last
        return grad_q, grad_k, grad_v, None, None
