"""Which files decide what a model says, and their digest: of a model, or of an adapter and its base."""

import json
from collections.abc import Callable
from pathlib import Path

from copg.digests import files_digest, json_digest
from copg.errors import ModelError

ADAPTER = "adapter_config.json"
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""What decides a model's log-probabilities: weights, configuration, tokeniser, chat template."""
WEIGHTS = ("*.safetensors", "*.index.json")
"""Those of them that are no text's business."""


def model_digest(model: Path) -> str:
    """Of a model directory: weights, configuration and tokeniser; logs and cards do not count.

    Raises:
        ModelError: when it is no directory with ``config.json`` and safetensors weights.
    """
    if not (model / "config.json").is_file():
        raise ModelError(f"{model}: no model directory, 'config.json' is missing")
    return _weights_digest(model)


def _weights_digest(folder: Path) -> str:
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no *.safetensors weights; pickled weights are never loaded")
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    return files_digest((path for path in found if path.name != "manifest.json"), folder)


def text_files(folder: Path) -> list[Path]:
    """What decides token ids and their number: tokeniser, chat template, configuration."""
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    weights = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
    return sorted(path for path in found - weights if path.name != "manifest.json")


def text_digest(folder: Path) -> str:
    """Of what decides how a model reads and says text, which other weights leave as it is."""
    return files_digest(text_files(folder), folder)


def policy_digest(policy: str, base_digest: Callable[[str], str] | None = None) -> str:
    """Of a model directory, or of an adapter's and the model it lies on; of a hub name, the name.

    Args:
        policy: directory or hub name.
        base_digest: of an adapter's model, by its directory or name.

    Raises:
        ModelError: a directory that is neither, or without weights.
    """
    folder = Path(policy)
    if not folder.is_dir():
        return policy
    if not (folder / ADAPTER).is_file():
        return model_digest(folder)
    return json_digest([_weights_digest(folder), (base_digest or policy_digest)(adapter_base(folder))])


def adapter_base(adapter: Path) -> str:
    """The model that an adapter lies on, a directory or a name of the hub.

    Raises:
        ModelError: its configuration names none.
    """
    try:
        base = json.loads((adapter / ADAPTER).read_text()).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError):
        base = None
    if not isinstance(base, str):
        raise ModelError(f"{adapter / ADAPTER}: names no base_model_name_or_path")
    return base
