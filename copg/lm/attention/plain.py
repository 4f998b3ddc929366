"""Attention written out, for what fused kernels lack: a soft cap of the scores (Gemma 2), sinks (gpt-oss)."""

import torch
from torch import Tensor


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    scale: float | None,
    *,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """[B, heads, Q, d] softmax(cap * tanh(scale * q k^T / cap)) v.

    Args:
        query: [B, heads, Q, d].
        key: [B, heads, T, d].
        value: [B, heads, T, d].
        visible: [B, 1, Q, T] True where a query sees a key.
        scale: of the scores; None: one over the square root of d.
        softcap: of the scores.
        sinks: [heads] score of a key whose value is nothing.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query @ key.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible, float("-inf"))
    if sinks is not None:
        sink = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sink], dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return weights[..., : key.shape[-2]] @ value
