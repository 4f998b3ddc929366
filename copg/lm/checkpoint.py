"""What a model directory or the hub holds, loaded whole or refused: no weight is left random."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers.utils import logging

from copg.errors import ModelError
from copg.lm.depth import left_out
from copg.lm.memory import memory_mistake
from copg.lm.weights import QUANTISED, check_files, stored_as

_TO_FULL = "Dequantize"
"""How its operations end that undo that while weights are loaded."""


def load_checkpoint(
    auto: Any,
    model: str | Path,
    *,
    revision: str | None,
    dtype: Any,
    new: Callable[[Any, str], bool] = lambda loaded, name: False,
    advice: str = "",
    **options: Any,
) -> Any:
    """A model by a class of ``transformers``: of safetensors alone, without code of its own.

    Args:
        auto: such as ``AutoModelForCausalLM``.
        model: directory or hub name.
        revision: of the hub; ignored for directories.
        dtype: of its weights.
        new: of the loaded model and the name of a weight that its files lack, whether it is to be learnt.
        advice: said where weights are missing.
        options: what else ``from_pretrained`` takes.

    Raises:
        ModelError: nothing there, no safetensors, or weights missing, of another shape, of more layers than
            the model has, or not finite.
    """
    check_files(model, revision)
    logging.disable_progress_bar()  # one bar a weight file would drown the stage's own progress
    try:
        loaded, found = auto.from_pretrained(
            str(model),
            dtype=dtype,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **_in_full(model, revision),
            **options,
        )
    except Exception as error:
        if memory_mistake(error, {}) is not None:
            raise
        raise ModelError(f"{model}: cannot be loaded: {first_line(error)}") from error
    _forget_quantised(loaded)
    missing = [name for name in found.get("missing_keys", ()) if not new(loaded, name)]
    check_loaded(model, loaded, {**found, "missing_keys": missing}, advice)
    if beyond := left_out(loaded, found.get("unexpected_keys", ())):
        layers = (
            f"{len(beyond)} weights of layers beyond those that config.json says, the first {beyond[0]!r}"
        )
        raise ModelError(f"{model}: its files hold {layers}: they would be left out")
    return loaded


def _in_full(model: str | Path, revision: str | None) -> dict[str, Any]:
    """Options by which weights that are stored as ``QUANTISED`` are loaded in full, on every device."""
    method, stored = stored_as(str(model), revision)
    if method not in QUANTISED:
        return {}
    kept = {"modules_to_not_convert": stored.get("modules_to_not_convert")}
    made = getattr(import_module("transformers"), QUANTISED[method])
    return {"quantization_config": made(dequantize=True, **kept)}


def _forget_quantised(loaded: Any) -> None:
    """Have a model saved as it is: ``transformers`` would give weights in full the names of the stored parts,
    under which nobody finds them.
    """
    conversions = getattr(loaded, "_weight_conversions", None)
    if conversions:
        loaded._weight_conversions = [
            each
            for each in conversions
            if not any(type(made).__name__.endswith(_TO_FULL) for made in getattr(each, "operations", ()))
        ]


def check_loaded(where: str | Path, model: Any, found: Mapping[str, Any], advice: str = "") -> None:
    """Refuse weights that are random, because the files lack them, or that are no numbers.

    Raises:
        ModelError: names the first of them.
    """
    for what, why in (("missing_keys", "lack"), ("mismatched_keys", "have another shape of")):
        names = sorted(str(name) for name in found.get(what, ()))
        if names:
            kind = model.config.model_type
            raise ModelError(
                f"{where}: its files {why} {len(names)} weights of model type {kind!r}, the first "
                f"{names[0]!r}: they would be random{advice and f'; {advice}'}"
            )
    for name, parameter in model.named_parameters():
        if parameter.numel() and not all(bool(end.isfinite()) for end in parameter.detach().aminmax()):
            raise ModelError(f"{where}: weight {name!r} holds values that are not finite")
    for name, buffer in model.named_buffers():  # a bound may be infinite, as of the clipped layers of Gemma 4
        if buffer.is_floating_point() and bool(buffer.isnan().any()):
            raise ModelError(f"{where}: buffer {name!r} holds values that are no numbers")


def first_line(error: Exception) -> str:
    """What an error of another library says."""
    return str(error).strip().split("\n")[0] or type(error).__name__
