"""Attention of a flat row by FlexAttention: one call a layer, blocks without a visible key are skipped."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from copg.errors import ModelError
from copg.lm.attention.layout import Layout


def flex_row_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None, softcap: float | None
) -> Tensor:
    """[1, T, heads, d] from query [1, heads, T, d], key and value [1, key heads, T, d]."""
    if query.device.type == "cpu" and query.requires_grad:
        raise ModelError(
            "attention='flex' has no backward pass on a CPU; use 'split' or 'mask' to train there"
        )
    if "blocks" not in layout.prepared:
        layout.prepared["blocks"] = _blocks(layout, query.device)

    def cap(score: Tensor, *_: Tensor) -> Tensor:
        assert softcap is not None
        return softcap * torch.tanh(score / softcap)

    out = _kernel(query.device.type)(
        query,
        key,
        value,
        score_mod=None if softcap is None else cap,
        block_mask=layout.prepared["blocks"],
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    result: Tensor = out.transpose(1, 2).contiguous()
    return result


@cache
def _kernel(device: str) -> Any:
    """Compiled on a GPU; on a CPU the plain definition, which is not fast but needs no compiler."""
    return torch.compile(flex_attention) if device == "cuda" else flex_attention


def _blocks(layout: Layout, device: torch.device) -> BlockMask:
    segment, end = (x.to(device) for x in layout.segments())

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (segment[query] < end[key]) & (query >= key)

    return create_block_mask(visible, None, None, layout.num_tokens, layout.num_tokens, device=str(device))
