"""Settings: one dataclass a stage, checked when a dictionary becomes one."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from operator import ge, gt, le, lt
from typing import (
    Annotated,
    Any,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from copg.errors import ConfigError

T = TypeVar("T")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
"""A whole number from 0."""

SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {"gt": gt, "ge": ge, "lt": lt, "le": le}
"""Bounds by their names in ``Field`` and in ``annotated_types``."""


ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(\S*)", re.IGNORECASE)
"""Scheme, and what comes after it."""
_SECRET = "in the environment, on a cluster from the secret copg-secrets"
INSTEAD = (
    (" (s3|minio)$", f"give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY {_SECRET}"),
    (" gc?s$", "give GOOGLE_APPLICATION_CREDENTIALS, the path of a file with the key, in the environment"),
    (r"rewards\.\d+\.|judge", "give key_file, the path of a file (of a mounted secret) with the key"),
    (
        "track.* https?$",
        f"give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, {_SECRET}",
    ),
)
"""What to use for a secret, by setting and scheme."""
ELSE = f"give it in a variable of its client {_SECRET}"


@overload
def configuration(cls: type[T]) -> type[T]: ...
@overload
def configuration(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(kw_only_default=True, frozen_default=True)
def configuration(cls: type[T] | None = None, *, kw_only: bool = True) -> Any:
    """Make ``cls`` a frozen dataclass of settings, in which an unknown key is an error, not a no-op.

    Bounds of a field stand in its type, as ``Positive`` or ``Annotated[int, Field(ge=1, description=WHY)]``,
    and hold however the object is made; rules that join fields stand in ``__post_init__``.
    """
    if cls is None:
        return partial(configuration, kw_only=kw_only)
    own_rules = getattr(cls, "__post_init__", None)

    def check(self: Any) -> None:
        for name, (bounds, words) in _bounds(self.__class__).items():
            value = getattr(self, name)
            if value is not None and not all(SIGNS[sign](value, limit) for sign, limit in bounds.items()):
                raise ValueError(f"{name}={value} must be {words}")
        if own_rules is not None:
            own_rules(self)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=kw_only)(cls)


@cache
def _bounds(cls: type[Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Bounds of each field that has some, and what is allowed in words."""
    found = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        for each in (hint, *get_args(hint)):  # the type itself, or one that may be None
            info = next((m for m in get_args(each)[1:] if isinstance(m, FieldInfo)), None)
            if get_origin(each) is Annotated and info is not None and info.metadata:
                bounds = {sign: getattr(m, sign) for m in info.metadata for sign in SIGNS if hasattr(m, sign)}
                found[name] = bounds, _words(bounds) + (f": {info.description}" if info.description else "")
    return found


def _words(bounds: Mapping[str, Any]) -> str:
    if len(bounds) == 1:
        ((sign, limit),) = bounds.items()
        return f"{ {'gt': '>', 'ge': '>=', 'lt': '<', 'le': '<='}[sign] } {limit}"
    low = f"[{bounds['ge']}" if "ge" in bounds else f"({bounds['gt']}"
    return f"in {low}, {bounds['le']}]" if "le" in bounds else f"in {low}, {bounds['lt']})"


def parse_config(cls: type[T], settings: Mapping[str, Any], *, where: str) -> T:
    """The dataclass ``cls`` filled from a dictionary, as it came from YAML or a pipeline parameter.

    Integers that a pipeline turned into floats (``10.0``) are taken back; ``10.5`` is refused.

    Args:
        where: how the user calls this section, for the message.

    Raises:
        ConfigError: one line that names the key, the value found and what is allowed.
    """
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where}={settings!r}: must be a mapping")
    if secrets := [*_secrets(settings, where)]:
        raise ConfigError("; ".join(secrets))
    try:
        return TypeAdapter(cls).validate_python(dict(settings))
    except ValidationError as error:
        raise ConfigError("; ".join(_line(cls, e, where) for e in error.errors())) from None


def check_address(value: str, where: str) -> None:
    """Refuse an address that holds user info or a query: it is written into every run, and printed.

    Args:
        where: how the user calls this setting, for the message.

    Raises:
        ConfigError: names what to use instead.
    """
    if secrets := [*_secrets(value, where)]:
        raise ConfigError(secrets[0])


def _secrets(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _secrets(item, f"{where}.{place}")
    elif isinstance(value, str) and (found := ADDRESS.fullmatch(value.strip())) and found[1] != "sqlite":
        server, _, query = found[2].partition("?")
        user = "@" in server.partition("/")[0]
        if user or query:
            what = "user info" if user else "a query"
            instead = next((use for match, use in INSTEAD if re.search(match, f"{where} {found[1]}")), ELSE)
            told = f"{where} has {what} in its address, which every run would write down"
            yield f"{told}: leave it out; {instead}"


def _line(cls: type[Any], error: Any, where: str) -> str:
    key = ".".join(str(part) for part in (where, *error["loc"]))
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        owner = _owner(cls, error["loc"])
        allowed = sorted(f.name for f in fields(owner)) if is_dataclass(owner) else "the documented keys"
        return f"{key} is unknown; use one of {allowed}"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"].startswith(("greater_than", "less_than")):
        owner, (limit,) = _owner(cls, error["loc"]), error["ctx"].values()
        if is_dataclass(owner) and (rule := _bounds(owner).get(str(error["loc"][-1]))):  # type: ignore[arg-type]
            return f"{key}={type(limit)(error['input'])} must be {rule[1]}"
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
