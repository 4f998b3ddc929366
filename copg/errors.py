"""What can be a user's mistake: each error is one line that the command prints before exit code 1.

Also what a setting may be, in words, and which of several names was meant.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from types import NoneType, TracebackType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(\S*)", re.IGNORECASE)
"""Scheme, and what comes after it."""
USER_INFO = re.compile(r"[^\s/?#'\"]*@|[^\s/?#'\"@:\[]*:(?!\d+(?:[/?#]|$))[^\s'\"@]*@")
"""What stands in an address before the server; also where slashes of a password are not encoded."""
AZURE = ("abfs", "abfss")
"""Schemes of addresses in which a container stands where others have user info."""
CONTAINER = re.compile(
    r"(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$(?:root|web|logs))@[a-z0-9][a-z0-9.-]*(?::\d+)?(?![\w.:@%+=-])"
)
"""``container@account`` of these, as Azure lets them be called: no key of an account is spelt so."""
_AFTER_AZURE = rf"(?:(?<=abfs)|(?<=bfss)):/{{1,2}}(?={CONTAINER.pattern})"
_USER = re.compile(rf"(?!\w{_AFTER_AZURE})(\w:/{{1,2}})(?:{USER_INFO.pattern})")
_QUERY = re.compile(r"(\w:/{1,2}[^\s?'\"]*)\?[^\s'\"]*")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAID_FULL = (*map(os.strerror, _FULL), "database or disk is full")
"""By libraries that hand on no number; the last is SQLite's."""
_WRITABLE = "choose a folder that can be written"
_ALLOWED = "choose a path that this user may read, and a folder that can be written"
_OF_PATHS = {
    errno.EACCES: _ALLOWED,
    errno.EPERM: _ALLOWED,
    errno.EROFS: _WRITABLE,
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOTDIR: "a folder is needed there",
    errno.EEXIST: "a folder is needed there",
    errno.EISDIR: "a file is needed there",
    errno.ELOOP: "links lead in a circle",
}
"""What to do, by the number of an error that a path of the user's can cause."""


def without_secrets(text: str) -> str:
    """A text whose addresses have no user info and no query any more: these are where passwords stand."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def one_line(text: str) -> str:
    """The same without secrets, on one line, whatever stands in names and in what libraries say."""
    return "\\n".join(without_secrets(text).splitlines())


def hide_secrets() -> None:
    """Have Python print errors that nobody caught without user info and queries of the addresses in them."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        lines = traceback.format_exception(kind, error, trace)
        print(without_secrets("".join(lines)), end="", file=sys.stderr, flush=True)

    sys.excepthook = tell


def has_user_info(scheme: str, rest: str) -> bool:
    """Whether an address holds what may be a name or a password of somebody.

    Args:
        scheme: as it is written.
        rest: what comes after the two slashes.
    """
    return not (scheme in AZURE and CONTAINER.match(rest)) and bool(USER_INFO.match(rest))


class CopgError(ValueError):
    """Base of every error a user can cause and mend; never raised for our own bugs."""

    def __str__(self) -> str:
        """The line, which is printed and written down, so that it tells no password."""
        return one_line(super().__str__())


class ConfigError(CopgError):
    """A setting is unknown, of the wrong type or out of its range."""


class MemoryLimitError(CopgError):
    """Settings ask for more memory than a card or a container has; another attempt would as well."""


class RecordError(CopgError):
    """A record or a file of records cannot be used; the message names file and line."""


class ArtifactError(CopgError):
    """A directory is not the artifact a stage asked for, or its contents changed since."""


class DamageError(CopgError):
    """A file of ours is not what was written; the message names it and what to do."""


class ModelError(CopgError):
    """A model or tokeniser cannot be loaded, or has layers whose rows are not covered."""


class RewardError(CopgError):
    """A reward is unknown, failed, or gave a value that is not finite."""


class StoreError(CopgError):
    """A reference store holds or was offered a value that cannot be trusted."""


class MismatchError(CopgError):
    """The weights disagree with the cached reference: model, tokeniser, template or precision moved."""


class DiskError(CopgError):
    """A disk is full, or a file or folder cannot be read or written."""


def disk_mistake(error: BaseException) -> DiskError | None:
    """What to say of an error of files that is none of ours; None of any other."""
    number = getattr(error, "errno", None)
    if full := disk_full(error):
        return full
    if not isinstance(error, OSError) or number not in _OF_PATHS or not error.filename:
        return None
    return DiskError(f"{error.filename}: {error.strerror}; {_OF_PATHS[number]}")


def disk_full(error: BaseException) -> DiskError | None:
    """What to say where an error means that a disk is full, of a database's too; None of any other."""
    if getattr(error, "errno", None) not in _FULL and not any(each in str(error) for each in _SAID_FULL):
        return None
    file = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return DiskError(f"{file}the disk is full; free some of it and run again: what was finished stays")


class TrackingError(CopgError):
    """The tracking server or the model registry cannot be reached, or refuses what was asked of it."""


SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
"""How bounds are written, by their names in ``Field`` and in ``annotated_types``."""
PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Any: "anything"}


def nearest(name: str, known: Collection[str]) -> str:
    """``; did you mean 'epochs'?`` where one of the known names is much like this one, else nothing."""
    folded = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""


def bounds_of(hint: Any) -> tuple[dict[str, Any], str]:
    """Bounds of ``Annotated[int, Field(ge=1, description=WHY)]``, and why; nothing of other types."""
    info = next((each for each in get_args(hint)[1:] if hasattr(each, "metadata")), None)
    if get_origin(hint) is not Annotated or info is None:
        return {}, ""
    bounds = {sign: getattr(m, sign) for m in info.metadata for sign in SIGNS if hasattr(m, sign)}
    return bounds, info.description or ""


def words_of_bounds(bounds: Mapping[str, Any]) -> str:
    """``> 0``, or ``in [0, 1)``."""
    if len(bounds) == 1:
        ((sign, limit),) = bounds.items()
        return f"{SIGNS[sign]} {limit}"
    low = f"[{bounds['ge']}" if "ge" in bounds else f"({bounds['gt']}"
    return f"in {low}, {bounds['le']}]" if "le" in bounds else f"in {low}, {bounds['lt']})"


def members(hint: Any) -> tuple[Any, ...]:
    """The types of which a value may be one; of ``int | None`` both, of ``int`` itself alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def words_of(hint: Any) -> str:
    """What a value of a type is: ``a whole number >= 1``, ``'ddp' or 'fsdp2'``, ``a text or null``."""
    some = members(hint)
    if len(some) > 1:
        words = [words_of(each) for each in some if each is not NoneType]
        return " or ".join([*words, *(["null"] if NoneType in some else [])])
    if get_origin(hint) is Annotated:
        bounds, _ = bounds_of(hint)
        kind = words_of(get_args(hint)[0])
        return f"{kind} {words_of_bounds(bounds)}" if bounds else kind
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return PLAIN.get(hint) or _words_of_several(hint)


def _words_of_several(hint: Any) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if is_dataclass(hint):
        return "keys and values"
    if kind is dict:
        return "keys, each with keys and values" if is_dataclass(inner[-1]) else "keys and values"
    if kind is tuple and Ellipsis not in inner:
        return f"[{', '.join(words_of(each) for each in inner)}]"
    if kind in (list, tuple):
        return f"a list, each {words_of(inner[0])}"
    return str(getattr(hint, "__name__", hint))


def follow(hint: Any, location: Collection[str | int]) -> tuple[tuple[str, ...], Any, Any]:
    """Where the place that pydantic names lies in settings.

    Args:
        hint: type of the settings.
        location: keys, places in lists, and of types that are one of several, which of them was tried.

    Returns:
        The keys alone; the type that holds the last of them; and what that one may be. None for a type that
        is not clear.
    """
    keys: list[str] = []
    owner = inside = told = hint
    for step in location:
        some = [_bare(each) for each in members(_bare(inside)) if each is not NoneType]
        if len(some) > 1 and str(step) in map(_tag, some):  # which of several types was tried
            inside = next(each for each in some if _tag(each) == str(step))
            continue
        owner = some[0]
        keys.append(str(step))
        inside = told = _inside(owner, step)
    return tuple(keys), owner, told


def _tag(hint: Any) -> str:
    """How pydantic calls a type that is one of several."""
    if get_origin(hint) is Literal:
        return f"literal[{','.join(map(repr, get_args(hint)))}]"
    return str(hint) if get_args(hint) else str(getattr(hint, "__name__", hint))


def _inside(owner: Any, step: str | int) -> Any:
    if is_dataclass(owner):
        return _hints(owner).get(str(step))
    inner = get_args(owner)
    if get_origin(owner) is tuple and isinstance(step, int) and step < len(inner):
        return inner[step]
    return inner[-1] if inner else None


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _hints(owner: Any) -> dict[str, Any]:
    return get_type_hints(owner, include_extras=True)
