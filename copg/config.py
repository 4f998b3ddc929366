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
    get_type_hints,
    overload,
)

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from copg.errors import (
    ADDRESS,
    ConfigError,
    bounds_of,
    follow,
    has_user_info,
    nearest,
    without_secrets,
    words_of,
    words_of_bounds,
)

T = TypeVar("T")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
"""A whole number from 0."""

HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {"gt": gt, "ge": ge, "lt": lt, "le": le}
"""Bounds by their names in ``Field`` and in ``annotated_types``."""


NAKED = re.compile(
    r"[^\s/@:]+:[^\s/@]+@(?:localhost|[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:\d))(?::\d{1,5})?(?:[/?]\S*)?"
)
"""``user:password@host`` without a scheme, as somebody may write a server."""
_SECRET = "in the environment, on a cluster from the secret copg-secrets"
INSTEAD = (
    (" (s3|minio)$", f"give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY {_SECRET}"),
    (" gc?s$", "give GOOGLE_APPLICATION_CREDENTIALS, the path of a file with the key, in the environment"),
    (
        r"rewards\.\d+\.|judge|endpoint",
        "give key_file, the path of a file (of a mounted secret) with the key",
    ),
    (
        "track.* https?$",
        f"give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, {_SECRET}",
    ),
)
"""What to use for a secret, by setting and scheme."""
WHOLE = "recipe"
"""How the whole of a recipe is called, whose own rules name their keys in full."""
OF_TYPES = (
    "literal_error", "int_type", "int_parsing", "int_from_float", "float_type", "float_parsing", "bool_type",
    "bool_parsing", "string_type", "list_type", "tuple_type", "dict_type", "dataclass_type", "too_short",
    "too_long",
)  # fmt: skip
"""Errors of pydantic for a value that is none of what the type of its field allows."""
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
            if value is not None and not all(HOLDS[sign](value, limit) for sign, limit in bounds.items()):
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
            bounds, why = bounds_of(each)
            if bounds:
                found[name] = bounds, words_of_bounds(bounds) + (f": {why}" if why else "")
    return found


def parse_config(cls: type[T], settings: Mapping[str, Any], *, where: str) -> T:
    """The dataclass ``cls`` filled from a dictionary, as it came from YAML or a pipeline parameter.

    Integers that a pipeline turned into floats (``10.0``) are taken back; ``10.5`` is refused, and so is a
    true or false in the place of a number, which ``yes`` is in YAML.

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
        hashable: Any = cls
        found: T = _adapter(hashable).validate_python(dict(settings))
    except ValidationError as error:
        raise ConfigError("; ".join(_lines(cls, error.errors(), where))) from None
    if truths := [*_truths(settings, found, where)]:
        raise ConfigError("; ".join(truths))
    return found


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Making one takes longer than all that it is asked."""
    return TypeAdapter(cls)


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
            yield from _secrets(key, f"a key of {where}")
            yield from _secrets(item, f"{where}.{without_secrets(str(key))}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _secrets(item, f"{where}.{place}")
    elif isinstance(value, str) and (found := _address_in(value.strip())) and found[0] != "sqlite":
        user, query = has_user_info(*found), found[1].partition("?")[2]
        if user or query:
            what = "user info" if user else "a query"
            instead = next((use for match, use in INSTEAD if re.search(match, f"{where} {found[0]}")), ELSE)
            told = f"{where} has {what} in its address, which every run would write down"
            yield f"{told}: leave it out; {instead}"


def _address_in(text: str) -> tuple[str, str] | None:
    """Scheme and rest of a text that is an address, or one without its scheme that begins with a password."""
    if found := ADDRESS.fullmatch(text):
        return found[1], found[2]
    return ("https", text) if NAKED.fullmatch(text) else None


def _truths(given: Any, made: Any, where: str) -> Iterator[str]:
    """A line for each true or false that became a number."""
    if isinstance(given, Mapping):
        hints = get_type_hints(type(made), include_extras=True) if is_dataclass(made) else {}
        for key, item in given.items():
            inside = getattr(made, key, item) if is_dataclass(made) else made.get(key, item)
            if isinstance(item, bool) and not isinstance(inside, bool):
                yield f"{where}.{key}={item} must be {words_of(hints.get(key, float))}"
            yield from _truths(item, inside, f"{where}.{key}")
    elif isinstance(given, list | tuple):
        for place, (item, inside) in enumerate(zip(given, made, strict=True)):
            if isinstance(item, bool) and not isinstance(inside, bool):
                yield f"{where}.{place}={item} must be {words_of(float)}"
            yield from _truths(item, inside, f"{where}.{place}")


def _lines(cls: type[Any], errors: Sequence[Any], where: str) -> list[str]:
    """A line for each mistake; of a value that is none of several types, one for all of them."""
    found = {_line(cls, error, where): follow(cls, error["loc"])[0] for error in errors}
    inside = [keys[:-1] for keys in found.values()]  # what is wrong inside of it says more
    return [line for line, keys in found.items() if not keys or keys not in inside]


def _line(cls: type[Any], error: Any, where: str) -> str:
    keys, owner, hint = follow(cls, error["loc"])
    key = ".".join((where, *keys))
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown_key(key, sorted(each.name for each in fields(owner)) if is_dataclass(owner) else [])
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} is missing"
    if error["type"] == "value_error":
        return _rule(error["msg"].removeprefix("Value error, "), key, hint if keys else cls)
    if error["type"].startswith(("greater_than", "less_than")):
        (limit,) = error["ctx"].values()
        if is_dataclass(owner) and (rule := _bounds(owner).get(keys[-1])):  # type: ignore[arg-type]
            return f"{key}={type(limit)(error['input'])} must be {rule[1]}"
    if error["type"] in OF_TYPES and hint is not None:
        return f"{key}={error['input']!r} must be {words_of(hint)}"
    return f"{key}={error['input']!r}: {error['msg']}"


def unknown_key(key: str, known: Sequence[str]) -> str:
    """What is said of a key that is none of those that there are."""
    allowed = list(known) or "the documented keys"
    return f"{key} is unknown; use one of {allowed}{nearest(key.rpartition('.')[2], known)}"


def _rule(told: str, key: str, owner: Any) -> str:
    """A rule that joins fields, with the key of the section that it is of."""
    if key == WHOLE or told.startswith(key):  # it names its keys from the recipe on
        return told
    names = {each.name for each in fields(owner)} if is_dataclass(owner) else set()
    return f"{key}.{told}" if re.split(r"\W", told, maxsplit=1)[0] in names else f"{key}: {told}"
