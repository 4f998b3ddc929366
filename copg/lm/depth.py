"""How many layers the files of a model hold and its configuration has: those beyond are left out unseen."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from copg.lm.anatomy import plain_text_config

_LAYER = re.compile(r"((?:.+\.)?(?:layers?|h|blocks?))\.(\d+)\.")
_DEPTHS = ("decoder_layers", "num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names under which a configuration has the number of layers, a decoder's own first."""
_BEYOND = "num_nextn_predict_layers"
"""Layers behind the last one, which predict several tokens at a time and which no forward of ours needs."""
_APART = "mtp"
"""How the names begin of such layers that are numbered anew."""


def depths(names: Iterable[str]) -> dict[str, int]:
    """Layers of each stack, its highest number and one, by how the names of its weights begin."""
    found: dict[str, int] = {}
    for name in names:
        layer = _LAYER.match(name)
        if layer is not None and not name.startswith(_APART):
            found[layer[1]] = max(found.get(layer[1], 0), int(layer[2]) + 1)
    return found


def wrong_depth(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    """What is wrong with the number of layers, in words; empty where nothing is, or it cannot be told.

    Args:
        settings: of ``config.json``.
        names: of the weights in its files.
    """
    text = plain_text_config(settings)
    sizes = (text.get(name) for name in _DEPTHS)
    told = next((size for size in sizes if type(size) is int), None)
    stacks = depths(names)
    if text is not settings:  # towers for images and sounds have stacks of their own
        stacks = {name: held for name, held in stacks.items() if "language_model" in name}
    if told is None or len(stacks) != 1:
        return ""
    (held,) = stacks.values()
    if held < told:
        return f"its weights are of {held} layers, config.json says {told}: the others would be random"
    beyond = text.get(_BEYOND)
    if held > told + (beyond if type(beyond) is int else 0):
        return f"its weights are of {held} layers, config.json says {told}: the others would be left out"
    return ""


def left_out(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Weights of layers beyond those that a loaded model has.

    Args:
        model: of ``transformers``.
        unexpected: names in its files for which it had no place.
    """
    known = depths(name for name, _ in model.named_parameters())
    beyond = int(getattr(model.config.get_text_config(decoder=True), _BEYOND, None) or 0)
    return sorted(
        name
        for name in unexpected
        for stack, held in depths([name]).items()
        if stack in known and held > known[stack] + beyond
    )
