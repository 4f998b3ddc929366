"""The door through which transformers calls our attention, and the choice of one by name."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.attention.layout import GroupMasks, Layout, SharedRows, visible_keys
from copg.lm.attention.plain import plain_attention
from copg.lm.attention.split import split_attention

NAMES = {"sdpa": "copg", "eager": "copg_eager"}
"""Of our attention in the registry of transformers, by the model's own, which computes all other rows."""
_ROWS: ContextVar[SharedRows | None] = ContextVar("rows", default=None)
"""Of the forward that runs now."""


def resolve_attention(name: str, device: torch.device) -> str:
    """The attention that ``auto`` stands for on a device; any other name is itself."""
    if name != "auto":
        return name
    return "split" if device.type == "cpu" else "mask"


def use_prefix_attention(decoder: Any) -> None:
    """Route the attention of a model of transformers through ``prefix_attention``, where it lets us.

    Without rows that share prompts its own attention computes, on its own masks; but some models ask for the
    name of their attention, and compute otherwise under ours. What is not ``packed`` goes through
    ``use_own_attention``.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask, sdpa_mask

    own = own_attention(decoder)
    if takes_shared_rows(decoder) or own not in NAMES or not decoder._can_set_attn_implementation():
        return
    AttentionInterface.register(NAMES[own], partial(prefix_attention, own))
    masks = {"sdpa": sdpa_mask, "eager": eager_mask}
    AttentionMaskInterface.register(NAMES[own], partial(_mask, masks[own], own))
    decoder.set_attn_implementation(NAMES[own])


def use_own_attention(decoder: Any) -> None:
    """Undo ``use_prefix_attention``: the model is that of plain transformers."""
    if takes_shared_rows(decoder):
        decoder.set_attn_implementation(own_attention(decoder))


def takes_shared_rows(decoder: Any) -> bool:
    """Whether its attention is ours."""
    return _attention(decoder) in NAMES.values()


def own_attention(decoder: Any) -> str:
    """The attention that a model computes with where rows share nothing: ``sdpa``, ``eager`` or another."""
    name = _attention(decoder)
    return next((own for own, ours in NAMES.items() if ours == name), name)


def _attention(decoder: Any) -> str:
    """The name under which a model's attention is set; empty of what is no model of transformers."""
    return str(getattr(getattr(decoder, "config", None), "_attn_implementation", ""))


@contextmanager
def sharing(rows: SharedRows) -> Iterator[None]:
    """Within it masks are made for rows that share prompts."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


def as_scores(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to the scores of attention that is written out."""
    nothing = torch.zeros((), dtype=dtype, device=visible.device)
    return torch.where(visible, nothing, torch.finfo(dtype).min)


def _mask(make: Any, own: str, **settings: Any) -> Tensor | None:
    """The mask of a kind of layer; called by a model once a forward for each kind.

    A layer of a flat row that sees all that came before gets none, others the number of their masks.
    """
    rows, size = _ROWS.get(), settings.get("local_size")
    if rows is None:
        made: Tensor | None = make(**settings)
        return made
    sees_all = settings.get("allow_is_causal_skip", True) and (size is None or rows.longest <= size)
    if sees_all:
        visible: Tensor | GroupMasks | None = rows.visible
    else:
        visible = rows.limited(settings["mask_function"])
    if isinstance(visible, Tensor):
        return as_scores(visible, settings["dtype"]) if own == "eager" else visible
    return None if visible is None or rows.layout is None else rows.layout.number(visible)


def prefix_attention(
    own: str,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    prefix_layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """[B, T, heads, d]; called by every attention layer of a model.

    Args:
        own: the model's own attention.
        query: [B, heads, T, d].
        key: [B, key heads, T, d].
        value: as ``key``; its width may differ.
        attention_mask: what ``_mask`` made of a flat row; else what the model's own attention takes.
        dropout: of attention weights.
        scaling: of the scores.
        softcap: of the scores.
        s_aux: [heads] attention sinks.
        prefix_layout: of a flat row; B is 1 then.
        **kwargs: what else the model's own attention takes.
    """
    if prefix_layout is None:
        given = {"softcap": softcap, "s_aux": s_aux}
        kwargs |= {name: each for name, each in given.items() if each is not None}
        result: tuple[Tensor, Tensor | None] = _own_function(own, module)(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    if dropout:
        raise ModelError(f"attention dropout={dropout} must be 0: completions of a prompt are contrasted")
    masks = None if attention_mask is None else prefix_layout.masks(attention_mask)
    return _flat(query, key, value, prefix_layout, scaling, softcap, s_aux, masks), None


def _own_function(own: str, module: Any) -> Any:
    """What computes the attention of a layer in transformers."""
    if own == "sdpa":
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward
    return sys.modules[type(module).__module__].eager_attention_forward


def _flat(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    masks: GroupMasks | None,
) -> Tensor:
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    plain = softcap is not None or sinks is not None
    if layout.name == "flex" and masks is None and sinks is None:
        from copg.lm.attention.flex import flex_row_attention

        return flex_row_attention(query, key, value, layout, scale, softcap)
    if layout.name == "varlen" and masks is None and not plain:
        from copg.lm.attention.varlen import varlen_attention

        return varlen_attention(query, key, value, layout, scale)
    key, value = _as_many_heads(key, query), _as_many_heads(value, query)
    if masks is not None or plain or query.device.type != "cpu":
        # a group at a time: what is written out is quadratic in a group, not in the row
        pieces = []
        for here, visible in masks or _masks(layout, query.device):
            q, k, v = query[:, :, here], key[:, :, here], value[:, :, here]
            if plain:
                pieces.append(plain_attention(q, k, v, visible, scale, softcap=softcap, sinks=sinks))
            else:
                pieces.append(
                    torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale)
                )
        return torch.cat(pieces, dim=2).transpose(1, 2).contiguous()
    return _split(query, key, value, layout, scale)


def _split(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
    """By ``split_attention``, whose kernel wants values as wide as keys: zeros change no score and no sum."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    width, wanted = max(query.shape[-1], value.shape[-1]), value.shape[-1]
    if query.shape[-1] != wanted:
        query, key, value = (
            torch.nn.functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value)
        )
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return split_attention(q, k, v, layout, scale)[None, ..., :wanted]


def _masks(layout: Layout, device: torch.device) -> GroupMasks:
    """Of groups whose tokens see all that came before."""
    if "masks" not in layout.prepared:
        layout.prepared["masks"] = [
            (here, visible_keys(*alone.segments()).to(device)) for here, alone in layout.alone()
        ]
    masks: GroupMasks = layout.prepared["masks"]
    return masks


def _as_many_heads(x: Tensor, query: Tensor) -> Tensor:
    """[B, heads, T, d]: each key head once for every query head it serves."""
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) if x.shape[1] != query.shape[1] else x
