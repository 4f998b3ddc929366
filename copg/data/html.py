"""The one HTML engine: pages are Jinja templates, in which every value is text unless it is ``Markup``."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def templates(folder: Path, **names: Any) -> Environment:
    """The templates ``*.j2`` of a folder, which may also use ``names``.

    Every value is escaped, and a name that is not defined is an error.
    """
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= names
    return made


def printable(value: Any) -> str:
    """Text that a UTF-8 page can show: control characters as their pictures, half a surrogate pair as ``?``.

    ``Markup`` is returned as it is.
    """
    if isinstance(value, Markup):
        return value
    shown = _CONTROL.sub(lambda m: "\u2421" if m[0] == "\x7f" else chr(0x2400 + ord(m[0])), str(value))
    return shown.encode("utf-8", "replace").decode()
