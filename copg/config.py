"""Settings: one dataclass a stage, checked when a dictionary becomes one."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from copg.errors import ConfigError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Put as ``__pydantic_config__`` on every config dataclass: an unknown key is an error, not a no-op."""

T = TypeVar("T")


def parse_config(cls: type[T], settings: Mapping[str, Any], *, where: str) -> T:
    """The dataclass ``cls`` filled from a dictionary, as it came from YAML or a pipeline parameter.

    Integers that a pipeline turned into floats (``10.0``) are taken back; ``10.5`` is refused.

    Args:
        cls: a dataclass that carries ``STRICT``.
        settings: plain values.
        where: how the user calls this section, for the message.

    Raises:
        ConfigError: one line that names the key, the value found and what is allowed.
    """
    try:
        return TypeAdapter(cls).validate_python(dict(settings))
    except ValidationError as error:
        raise ConfigError("; ".join(_line(cls, e, where) for e in error.errors())) from None


def _line(cls: type[Any], error: Any, where: str) -> str:
    key = ".".join(str(part) for part in (where, *error["loc"]))
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        owner = _owner(cls, error["loc"])
        allowed = sorted(f.name for f in fields(owner)) if is_dataclass(owner) else "the documented keys"
        return f"{key} is unknown; use one of {allowed}"
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{key}={error['input']!r}: {message}"


def _owner(cls: Any, location: Sequence[str | int]) -> Any:
    """The dataclass in which the last key of ``location`` was looked for; None where that is not clear."""
    for key in location[:-1]:
        if is_dataclass(cls):
            cls = get_type_hints(cls).get(str(key))
        else:  # an entry of a list, or a value of a dictionary
            cls = get_args(cls)[-1] if get_args(cls) else None
        inner = [each for each in get_args(cls) if is_dataclass(each)]
        if type(None) in get_args(cls) and len(inner) == 1:
            cls = inner[0]
    return cls
