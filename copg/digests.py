"""Content digests: what a cached step depends on, as 64 hexadecimal digits of SHA-256."""

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from copg.errors import ModelError

ADAPTER = "adapter_config.json"
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""What decides a model's log-probabilities: weights, configuration, tokeniser, chat template."""


def file_digest(path: Path) -> str:
    """Of one file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Of a plain value; the order of keys does not matter, ``10.0`` and ``10`` are one number."""
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def files_digest(files: Iterable[Path], root: Path) -> str:
    """Of names (relative to ``root``) and bytes, in name order."""
    return json_digest({str(path.relative_to(root)): file_digest(path) for path in sorted(files)})


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
    except (ValueError, AttributeError):
        base = None
    if not isinstance(base, str):
        raise ModelError(f"{adapter / ADAPTER}: names no base_model_name_or_path")
    return base


def code_digest(module: str) -> str:
    """Of the source of ``module`` and of everything of ours it imports, directly or not.

    Found by reading the source, not by importing it, so that no heavy library is loaded. Imports inside
    functions count.
    """
    package = module.partition(".")[0]
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _source(name)
        if path is None:
            continue
        seen[name] = _code_file_digest(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += [found for found in _imports(path.read_text()) if found.partition(".")[0] == package]
    return json_digest(seen)


def _code_file_digest(path: Path) -> str:
    """Of a module; of a package also the files beside it that are no Python: style sheets, templates."""
    beside = path.parent.iterdir() if path.name == "__init__.py" else []
    data = [f for f in beside if f.is_file() and f.suffix not in (".py", ".pyc") and f.name[0] != "."]
    return files_digest([path, *data], path.parent)


def _source(name: str) -> Path | None:
    """The file of a module, found on disk: asking for a module's spec would import its parents."""
    package, *parts = name.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not spec.origin.endswith("__init__.py"):
        return None
    base = Path(spec.origin).parent.joinpath(*parts)
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@functools.lru_cache
def _imports(source: str) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)
