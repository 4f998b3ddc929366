"""The door through which transformers calls our attention, and the choice of one by name."""

from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.attention.layout import Layout, visible_keys
from copg.lm.attention.plain import plain_attention
from copg.lm.attention.split import split_attention

NAME = "copg"
"""Of our attention in the registry of transformers."""


def resolve_attention(name: str, device: torch.device) -> str:
    """The attention that ``auto`` stands for on a device; any other name is itself."""
    if name != "auto":
        return name
    return "split" if device.type == "cpu" else "mask"


def use_prefix_attention(model: Any) -> None:
    """Route a transformers model's attention through ``prefix_attention``; without a layout it is SDPA."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation == NAME:
        return
    AttentionInterface.register(NAME, prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise ModelError(
            f"model type {model.config.model_type!r} does not take another attention than its own"
        )


def prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    prefix_layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[B, T, heads, d]; called by every attention layer of a model.

    Args:
        query: [B, heads, T, d].
        key: [B, key heads, T, d].
        value: as ``key``.
        attention_mask: [B, 1, T, T]; not looked at when there is a layout.
        dropout: of attention weights.
        prefix_layout: of a flat row; B is 1 then.
        **kwargs: what SDPA takes.
    """
    if prefix_layout is not None:
        if dropout:
            raise ModelError(f"attention dropout={dropout} must be 0: completions of a prompt are contrasted")
        return _flat(query, key, value, prefix_layout, scaling, softcap), None
    if softcap is not None:
        key, value = (_as_many_heads(x, query) for x in (key, value))
        out = plain_attention(query, key, value, attention_mask, scaling, softcap)
        return out.transpose(1, 2).contiguous(), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    result: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return result


def _flat(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None, softcap: float | None
) -> Tensor:
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if layout.name == "flex":
        from copg.lm.attention.flex import flex_row_attention

        return flex_row_attention(query, key, value, layout, scale, softcap)
    if layout.name == "varlen" and softcap is None:
        from copg.lm.attention.varlen import varlen_attention

        return varlen_attention(query, key, value, layout, scale)
    key, value = _as_many_heads(key, query), _as_many_heads(value, query)
    if softcap is not None:
        # a group at a time: what is written out is quadratic in a group, not in the row
        pieces = [
            plain_attention(query[:, :, here], key[:, :, here], value[:, :, here], visible, scale, softcap)
            for here, visible in _masks(layout, query.device)
        ]
        return torch.cat(pieces, dim=2).transpose(1, 2).contiguous()
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return split_attention(q, k, v, layout, scale)[None]


def _masks(layout: Layout, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Of each group: its tokens, and [t, t] which keys each of them sees."""
    if "masks" not in layout.prepared:
        layout.prepared["masks"] = [
            (slice(start, start + alone.num_tokens), visible_keys(*alone.owners()).to(device))
            for (start, *_), alone in zip(
                layout.segments(), (Layout((group,)) for group in layout.groups), strict=True
            )
        ]
    masks: list[tuple[slice, Tensor]] = layout.prepared["masks"]
    return masks


def _as_many_heads(x: Tensor, query: Tensor) -> Tensor:
    """[B, heads, T, d]: each key head once for every query head it serves."""
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) if x.shape[1] != query.shape[1] else x
