"""What the files of a model say before it is loaded: whole, of weights, and without a kernel of their own."""

from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from copg.artifacts import json_value
from copg.errors import ModelError
from copg.lm.depth import wrong_depth
from copg.stores.model_files import ADAPTER, MODEL_FILES

POINTER = b"version https://git-lfs"
"""How a file begins that git-lfs did not fetch."""
KERNELS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
"""Settings by which a configuration would choose, or fetch, code that computes attention."""
QUANTISED = {"mxfp4": "Mxfp4Config", "fp8": "FineGrainedFP8Config"}
"""Ways to store weights in fewer bits that are loaded in full, and what ``transformers`` calls them."""
MOST_HEADER = 100_000_000
"""Bytes that safetensors allows a header."""


def check_files(model: str | Path, revision: str | None = None) -> None:
    """Refuse a model or adapter directory whose files cannot be loaded, or would choose code; of a hub name
    its configuration alone is looked at, if it can be had.

    Raises:
        ModelError: names the file, and what is wrong with it.
    """
    folder = Path(model)
    if not folder.is_dir():
        with suppress(OSError):  # whoever loads it says so
            if (found := _config_on_hub(str(model), revision)) is not None:
                _check_settings(found)
        return
    check_fetched(folder)
    settings = folder / (ADAPTER if (folder / ADAPTER).is_file() else "config.json")
    if not settings.is_file():
        raise ModelError(f"{model}: no model directory, 'config.json' is missing")
    _check_settings(settings)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{model}: no *.safetensors weights: they were never there, or the retention rule of stage "
            "'promote' removed them (train again, or set promote.keep)"
        )
    held = {file.name: read_shapes(file) for file in files}
    if not any(held.values()):
        raise ModelError(f"{files[0]}: holds no tensor, and neither does another file beside it")
    for index in sorted(folder.glob("*.safetensors.index.json")):
        placed = _json(index).get("weight_map", {})
        if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
            raise ModelError(f"{index}: its weight_map is not the name of a file for each weight")
        wanted = set(placed.values())
        missing = sorted(name for name in wanted if not (folder / name).is_file())
        if missing:
            raise ModelError(f"{index}: names {len(wanted)} files, of which {missing[0]!r} is missing")
        lost = sorted(name for name, file in placed.items() if name not in held.get(file, {name}))
        if lost:
            raise ModelError(f"{index}: places {lost[0]!r} in {placed[lost[0]]!r}, which does not hold it")
    if settings.name != ADAPTER and (wrong := wrong_depth(_json(settings), chain(*held.values()))):
        raise ModelError(f"{model}: {wrong}")


def check_fetched(folder: Path) -> None:
    """Refuse a directory in which a file of a model is not there: a pointer, or a link that leads nowhere.

    Raises:
        ModelError: names the file.
    """
    for file in sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern)):
        with _opened(file) as stream:
            if file.suffix != ".safetensors" and stream.read(len(POINTER)) == POINTER:
                raise ModelError(f"{file}: is a pointer of git-lfs, not the file: run git lfs pull")


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        why = "is a link that leads nowhere" if file.is_symlink() and not file.exists() else error.strerror
        raise ModelError(f"{file}: cannot be read: {why}; copy or fetch the model again") from None


def read_shapes(file: Path) -> dict[str, list[int]]:
    """Shape of each tensor of a safetensors file, by name; none of them is read.

    Raises:
        ModelError: it is a pointer of git-lfs, truncated, or no such file.
    """
    with _opened(file) as stream:
        size = file.stat().st_size
        start = stream.read(8)
        if POINTER.startswith(start) and start:
            raise ModelError(f"{file}: is a pointer of git-lfs, not the weights: run git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MOST_HEADER, size):
            raise ModelError(f"{file}: is no safetensors file, or its first bytes alone ({size} bytes)")
        try:
            header: dict[str, Any] = json_value(stream.read(length))
            tensors = {name: each for name, each in header.items() if name != "__metadata__"}
            ends = [each["data_offsets"][1] for each in tensors.values()]
            shapes = {name: list(each["shape"]) for name, each in tensors.items()}
        except (ValueError, TypeError, AttributeError, LookupError):
            raise ModelError(f"{file}: its header is no safetensors header") from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise ModelError(f"{file}: is truncated: {size} of {whole} bytes")
    return shapes


def read_settings(model: str, revision: str | None = None) -> dict[str, Any]:
    """``config.json`` of a model directory, or of a name of the hub.

    Raises:
        ModelError: there is none, it is no JSON object, or the hub cannot be reached and its cache has none.
    """
    file: Path | None = Path(model, "config.json")
    if not Path(model).is_dir():
        try:
            file = _config_on_hub(model, revision)
        except OSError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"{model}: config.json cannot be fetched: {reason}") from None
    if file is None or not file.is_file():
        raise ModelError(f"{model}: no model, 'config.json' is missing")
    return _json(file)


def stored_as(model: str, revision: str | None = None) -> tuple[str, dict[str, Any]]:
    """In which way of fewer bits a model's weights are stored, and its settings; empty where in none.

    Raises:
        ModelError: as ``read_settings``.
    """
    found = read_settings(model, revision).get("quantization_config")
    return (str(found.get("quant_method")), found) if isinstance(found, dict) else ("", {})


def _config_on_hub(model: str, revision: str | None) -> Path | None:
    """Where its configuration lies in the hub's cache, fetched if need be; None where it has none.

    Raises:
        OSError: the hub cannot be reached, and its cache does not hold it.
    """
    from transformers.utils.hub import cached_file

    found = cached_file(model, "config.json", revision=revision)
    return None if found is None else Path(found)


def _check_settings(file: Path) -> None:
    waiting = [_json(file)]
    while waiting:
        settings = waiting.pop()
        for name in KERNELS:
            if settings.get(name) is not None:
                found = f"{file}: {name}={settings[name]!r}"
                raise ModelError(f"{found} would choose the code that computes attention; remove it")
        waiting += [each for each in settings.values() if isinstance(each, dict)]


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json_value(file.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{file}: is no JSON object")
    return found
