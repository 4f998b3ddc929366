"""Kinds of models that draw text from left to right: told by ``config.json``, before anything is loaded."""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from copg.errors import ModelError
from copg.lm.anatomy import plain_text_config, text_config
from copg.lm.weights import read_settings

_DRAFTS = "it drafts for another Gemma 4 and takes that one's keys and values with every token"
_SOUNDS = "it writes codes of sounds, no text"
REFUSED = {
    "cpmant": "it sees what follows a token that it should predict",
    "gemma4_assistant": _DRAFTS,
    "gemma4_unified_assistant": _DRAFTS,
    "musicgen": _SOUNDS,
    "musicgen_melody": _SOUNDS,
    "reformer": "it reads texts of set lengths alone",
}
"""Causal kinds of ``transformers`` that no form of rows computes, and why."""
PACKAGES = {"gemma3n": "timm"}
"""What ``transformers`` asks for to load a kind."""
DRAWS, FILLS = ("ForCausalLM", "LMHeadModel"), "ForMaskedLM"
"""How the classes of models end that draw, and of those that fill gaps."""
DECIDES = {"bert-generation": "is_decoder", "xlm": "causal"}
"""Settings without which a kind sees what follows, beside those kinds of which a class fills gaps."""


def check_kind(model: str, revision: str | None = None) -> None:
    """Refuse a model that is no language model, or one that sees what it should predict.

    Where the class that ``config.json`` names does not tell it, says so and loads torch.

    Args:
        model: directory or hub name.
        revision: of the hub.

    Raises:
        ModelError: names the kind and the reason; or there is no configuration.
    """
    if not leaves_kind(model, revision):
        return
    kind = read_settings(model, revision).get("model_type")
    print(
        f"{model}: transformers must say whether model type {kind!r} draws: torch is loaded", file=sys.stderr
    )
    config = import_module("copg.lm.load").load_config(model, revision=revision)
    if loading_class(config) is None:
        raise ModelError(
            f"{model}: model type {kind!r} is refused: it is no language model that draws from left to right"
        )


def leaves_kind(model: str, revision: str | None = None) -> bool:
    """Whether ``config.json`` leaves it to ``transformers``, with torch, to say if a model draws.

    Raises:
        ModelError: as ``check_kind``, of what the file tells.
    """
    settings = read_settings(model, revision)
    kind = settings.get("model_type")
    missing = PACKAGES.get(str(kind))
    why = REFUSED.get(str(kind))
    if missing is not None and find_spec(missing) is None:
        why = f"transformers needs the package {missing} for it"
    if why is None and (unset := _sees_ahead(settings)):
        why = f"it fills gaps, and sees what follows (no {unset} in config.json)"
    if why is not None:
        raise ModelError(f"{model}: model type {kind!r} is refused: {why}")
    return not _draws_by_name(settings)


def loading_class(config: Any) -> Any:
    """The class of ``transformers`` that loads the models of a configuration; None where they do not draw.

    Of those that read images or sounds too (Mistral 3, Qwen 3 VL), some are in no list of causal kinds.
    """
    transformers = import_module("transformers")
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForCausalLM
    reads_more = type(config) in transformers.MODEL_FOR_MULTIMODAL_LM_MAPPING
    encodes = text_config(config) is config or any(
        getattr(each, "is_encoder_decoder", False) for each in (config, text_config(config))
    )
    return transformers.AutoModelForMultimodalLM if reads_more and not encodes else None


def _classes(settings: Mapping[str, Any]) -> list[str]:
    named = settings.get("architectures")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _sees_ahead(settings: Mapping[str, Any]) -> str:
    """What its file would have to say for its attention to see nothing that follows; empty where it does."""
    text, kind = plain_text_config(settings), str(settings.get("model_type"))
    known = {name.lower() for name in dir(import_module("transformers")) if name.endswith(FILLS)}
    fills = any(name.endswith(FILLS) for name in _classes(settings))
    fills = fills or f"{_joined(kind)}{FILLS}".lower() in known
    decides = DECIDES.get(kind) or ("is_decoder" if fills else "")
    if decides and text.get(decides) is not True:
        return f"{decides}: true"
    if text.get("is_causal") is False:
        return "is_causal: true"
    both_ways = text.get("use_bidirectional_attention") in (True, "all")  # of Gemma, as of its embeddings
    return "use_bidirectional_attention: false" if both_ways else ""


def _joined(kind: str) -> str:
    """A kind as the names of its classes begin, in lower case."""
    return kind.replace("_", "").replace("-", "")


def _draws_by_name(settings: Mapping[str, Any]) -> bool:
    """Whether it names a class of its kind that draws: ``GPT2LMHeadModel`` of ``gpt2``."""
    kind = _joined(str(settings.get("model_type")))
    known = dir(import_module("transformers"))
    return any(
        name.removesuffix(end).lower() == kind and name.endswith(end) and name in known
        for name in _classes(settings)
        for end in DRAWS
    )
