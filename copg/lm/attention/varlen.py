"""Attention of a flat row by one variable-length FlashAttention call (CUDA, bfloat16).

Queries are the segments as they lie; the keys of a segment are those of the segments it continues and its
own, gathered. The causal mask of FlashAttention is aligned at the end, so that the last query of a segment
sees all of them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from copg.lm.attention.layout import Layout


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None
) -> Tensor:
    """[1, T, heads, d] from query [1, heads, T, d], key and value [1, key heads, T, d]."""
    if "varlen" not in layout.prepared:
        layout.prepared["varlen"] = varlen_index(layout, query.device)
    index = layout.prepared["varlen"]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = varlen_attn(
        q.contiguous(),
        k.index_select(0, index["keys"]),
        v.index_select(0, index["keys"]),
        index["query_ends"],
        index["key_ends"],
        index["longest_query"],
        index["longest_key"],
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def varlen_index(layout: Layout, device: torch.device) -> dict[str, Any]:
    """Sequences of a flat row for one varlen call.

    Returns:
        ``keys`` [sum of key lengths] the token each gathered key comes from; ``query_ends`` and ``key_ends``
        [sequences + 1] int32 running totals from 0; ``longest_query`` and ``longest_key`` in tokens.
    """
    keys: list[Tensor] = []
    queries: list[int] = []
    start = 0
    for group in layout.groups:
        seen: list[tuple[int, Tensor]] = []  # segments that are continued: until which number, and their keys
        for number, (length, span) in enumerate(group):
            seen = [(end, before) for end, before in seen if number < end]
            seen.append((number + span, torch.arange(start, start + length)))
            keys.append(torch.cat([each for _, each in seen]))
            queries.append(length)
            start += length

    def ends(lengths: list[int]) -> Tensor:
        return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)

    key_lengths = [len(part) for part in keys]
    return {
        "keys": torch.cat(keys).to(device),
        "query_ends": ends(queries),
        "key_ends": ends(key_lengths),
        "longest_query": max(queries),
        "longest_key": max(key_lengths),
    }
