"""Small files that carry their own digest: read as they were written, or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import json_value, write_json
from copg.digests import json_digest
from copg.errors import DamageError

SEAL = "sha256"
"""Key of the digest, beside the values; a file of 0.1.0 has none and is read as it is."""


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write keys and values with their digest, visible whole or not at all; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**values, SEAL: _digest(values)})


def sealed(values: Mapping[str, Any]) -> bytes:
    """The same as ``write_sealed`` writes, for a file that others move to its place."""
    return json.dumps({**values, SEAL: _digest(values)}, indent=2).encode()


def read_sealed(path: Path, *, remedy: str) -> dict[str, Any]:
    """The keys and values of a file; nothing where there is none.

    Args:
        remedy: what to do about a file that is damaged, for the message.

    Raises:
        DamageError: it is not what was written.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    try:
        return unseal(data)
    except ValueError as error:
        raise DamageError(f"{path}: is damaged ({error}); {remedy}") from None


def unseal(data: str | bytes) -> dict[str, Any]:
    """Keys and values, without their digest.

    Raises:
        ValueError: they are not what was written.
    """
    values = json_value(data)
    if not isinstance(values, dict):
        raise ValueError(f"it holds {type(values).__name__}, not keys and values")
    if SEAL not in values:
        if any(value == _digest(values, but=name) for name, value in values.items() if _is_digest(value)):
            raise ValueError(f"its key {SEAL!r} is called otherwise")
        return values
    if values.pop(SEAL) != _digest(values):
        raise ValueError("it changed since it was written")
    return values


def _digest(values: Mapping[str, Any], *, but: str | None = None) -> str:
    return json_digest(json.loads(json.dumps({k: v for k, v in values.items() if k != but})))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
