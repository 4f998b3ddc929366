"""JSON as RFC 8259 has it: what Python's parser lets through or chokes on is refused with its reason."""

import datetime
import decimal
import json
import math
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Of columns: deeper nesting is refused, with a line number, before it can exhaust a reward's stack."""

MAX_DETAIL = 1000
"""Characters said of a row that is no record, whatever it holds."""
MAX_NAMES, MAX_NAME_CHARS = 20, 60
"""Of columns that are listed, and of each of them."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Defect(Exception):
    """Why a row is no record."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """What is counted: one of the words in ``checks.DEFECTS``."""
        self.detail = detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]} (cut)"
        """The particulars, for whoever repairs the row."""


def parse_json(text: bytes) -> Any:
    """One JSON value from UTF-8 bytes.

    Refused beyond what Python's parser refuses: ``NaN`` and ``Infinity``, a key given twice, half of a
    surrogate pair, and what is nested so deeply that Python raises RecursionError.

    Raises:
        Defect: ``invalid_utf8``, ``invalid_json`` or ``duplicate_key``.
    """
    try:
        value = _DECODER.decode(text.decode())
        if b"\\" in text and _SURROGATE.search(text) and not is_unicode(value):
            raise Defect("invalid_utf8", "half of a surrogate pair, as in \\ud83d, is no character")
        return value
    except UnicodeDecodeError as error:
        where = f"byte 0x{text[error.start]:02x} at position {error.start + 1}"
        raise Defect("invalid_utf8", f"{where}: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise Defect("invalid_json", f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise Defect("invalid_json", "nested too deeply to be read") from None
    except ValueError as error:
        raise Defect("invalid_json", str(error)) from None


def spelled(text: str) -> Any:
    """The value that a text spells as JSON; the text itself where it spells none."""
    try:
        return parse_json(text.encode())
    except Defect:
        return text


def listed(names: Iterable[Any]) -> str:
    """Names of columns as a list, sorted; of many the first, and how many more there are.

    Keys of a map in Parquet may be numbers.
    """
    ordered = sorted(map(str, names))
    shown = [name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}..." for name in ordered]
    more = len(shown) - MAX_NAMES
    return f"{shown[:MAX_NAMES]}" + (f" and {more:,} more" if more > 0 else "")


def is_unicode(value: Any) -> bool:
    """Whether every string in a plain value can be written as UTF-8: none holds a lone surrogate."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise Defect("duplicate_key", f"{twice!r} is given twice")
    return value


def _refuse(constant: str) -> NoReturn:
    raise Defect("invalid_json", f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def _depth(value: Any) -> int:
    """Levels of lists and objects, counted without recursion."""
    deepest, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, list | dict):
            deepest = max(deepest, depth + 1)
            inside = item.values() if isinstance(item, dict) else item
            waiting += [(inner, depth + 1) for inner in inside]
    return deepest


def write_columns(columns: dict[str, Any]) -> str:
    """A record's other columns as JSON; NaN, with which tables say "nothing", becomes null, dates text.

    What they hold stays in its order: the model reads the keys of a tool, and draws those of a call, as they
    were logged.

    Raises:
        Defect: ``wrong_type``, for what JSON cannot hold.
    """
    if not columns:
        return "{}"
    nested = [value for value in columns.values() if type(value) is dict or type(value) is list]
    if nested and _depth(nested) > MAX_DEPTH:
        raise Defect("invalid_json", f"a column is nested deeper than {MAX_DEPTH - 1} levels")
    ordered = dict(sorted(columns.items()))
    try:
        return _ENCODER.encode(ordered)
    except ValueError:
        return _ENCODER.encode(_without_nan(ordered))
    except TypeError:  # of a map of a table, whose keys may be anything
        raise Defect("wrong_type", "a column holds keys that are no text, which JSON cannot") from None


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        if math.isinf(value):
            raise Defect("wrong_type", f"a column holds {value}, which JSON cannot")
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    raise Defect("wrong_type", f"a column holds {kind_of(value)}, which JSON cannot")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_as_text)
_KINDS = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a value is, in JSON's words."""
    return _KINDS.get(type(value), type(value).__name__)
