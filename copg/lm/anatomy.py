"""What a configuration says of its language model, also where that is a part of it: read here alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length", "context_length")
"""Names under which a configuration has the number of positions."""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names under which it has a soft cap of its logits."""
PARTS = ("text_config", "decoder", "generator", "thinker_config")
"""Names under which it has the part that is the language model, as ``transformers`` finds it."""
WINDOWS = {
    "sliding_window": "sliding_attention",
    "sliding_window_size": "sliding_attention",
    "attention_chunk_size": "chunked_attention",
    "window_size": "local",
}
"""Names under which it has the tokens that some layers see, and the kind of those layers."""
CHOSEN = {"index_topk": "indexed_attention"}
"""The same of layers that choose which tokens they see, and keep more than keys and values for it."""
ATTENTION = ("full_attention", "attention", "global", *sorted(set(WINDOWS.values())))
"""Kinds of layers whose state is the keys and values of the tokens so far."""
RECURRENT = ("ssm_cfg", "state_size", "mamba_d_state", "attention_hidden_size", "attention_window_size")
"""Of a configuration without kinds of layers: what those with another state have."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Of the language model: towers for images and sounds do not count."""

    kind: str
    """Of the whole model, as ``config.json`` has it."""
    composite: bool
    """Whether the language model is a part of it."""
    context: int | None
    """Positions; None where nothing limits them."""
    layers: int
    windows: tuple[int, ...]
    """Tokens that some layers see at most, the smallest first; empty where every layer sees all."""
    has_keys: bool
    """Whether keys and values are all the state that a layer has."""
    logit_scale: float
    """Factor of the logits."""
    logit_cap: float | None
    """Soft cap of the logits."""


def read_anatomy(config: Any) -> Anatomy:
    """What our code asks of a configuration of ``transformers``."""
    text = text_config(config)
    return Anatomy(
        kind=str(config.model_type),
        composite=text is not config,
        context=_positions(getattr(text, name, None) for name in CONTEXTS),
        layers=int(getattr(text, "num_hidden_layers", None) or getattr(text, "decoder_layers", None) or 0),
        windows=_windows(text),
        has_keys=_has_keys(text),
        logit_scale=_logit_scale(text),
        logit_cap=next((float(cap) for name in CAPS if (cap := getattr(text, name, None))), None),
    )


def text_config(config: Any) -> Any:
    """The part of a configuration that is the language model's; the whole where there is nothing else."""
    try:
        return config.get_text_config()
    except ValueError:  # an encoder for texts stands beside it
        return config.get_text_config(decoder=True)


def plain_text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """As ``text_config``, of a ``config.json`` as it was read: what the part leaves out, the whole has."""
    for name in PARTS:
        inner = config.get(name)
        if isinstance(inner, dict):
            return plain_text_config({**config, name: None, **inner})
    return config


def plain_context(text: Mapping[str, Any]) -> int | None:
    """Positions, by the file; None where it leaves them to a default."""
    return _positions(text.get(name) for name in CONTEXTS)


def _positions(sizes: Iterable[Any]) -> int | None:
    """The first of some settings that is a number of positions: XLNet says -1, for no limit."""
    return next((int(size) for size in sizes if isinstance(size, int) and size > 0), None)


def _windows(text: Any) -> tuple[int, ...]:
    kinds = getattr(text, "layer_types", None) or getattr(text, "attention_layers", None)
    found = set()
    for name, kind in (WINDOWS | CHOSEN).items():
        size = getattr(text, name, None)
        if isinstance(size, int) and size > 0 and (kinds is None or any(kind in each for each in kinds)):
            found.add(size)
    return tuple(sorted(found))


def _has_keys(text: Any) -> bool:
    kinds = getattr(text, "layer_types", None)
    if kinds is not None:
        return set(kinds) <= set(ATTENTION)
    return not any(getattr(text, name, None) is not None for name in RECURRENT)


def _logit_scale(text: Any) -> float:
    """Cohere multiplies its logits, as Falcon-H1 and HyperCLOVA X do by other names; Granite divides them."""
    scale = getattr(text, "logit_scale", None) or getattr(text, "lm_head_multiplier", None) or 1.0
    scaling = getattr(text, "logits_scaling", None) or 1.0
    return float(scale) * (float(scaling) if text.model_type == "hyperclovax" else 1 / float(scaling))
