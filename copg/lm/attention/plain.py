"""Attention written out, for what fused kernels lack: a soft cap of the scores (Gemma 2)."""

import torch
from torch import Tensor


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float | None, softcap: float
) -> Tensor:
    """[B, heads, Q, d] softmax(cap * tanh(scale * q k^T / cap)) v.

    Args:
        query: [B, heads, Q, d].
        key: [B, heads, T, d].
        value: [B, heads, T, d].
        visible: [B, 1, Q, T] boolean, or float to be added; None: causal, the last query sees every key.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = softcap * torch.tanh(query @ key.transpose(-1, -2) * (scale / softcap))
    if visible is None:
        queries, keys = scores.shape[-2:]
        visible = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    boolean = visible.dtype == torch.bool
    scores = scores.masked_fill(~visible, float("-inf")) if boolean else scores + visible
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
