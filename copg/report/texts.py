"""Numbers and settings as the page prints them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from copg.records import Estimate
from copg.rewards.tables import form_of

MINUS, DASH = "\u2212", "\u2013"
MOST_LINES, MOST_CHARACTERS = 20, 300
"""Warnings that a page of kilobytes has, and of each."""


def number(value: float, form: str = ".3g") -> str:
    """With a proper minus sign; a dash where the value is not finite."""
    return f"{value:{form}}".replace("-", MINUS) if math.isfinite(value) else DASH


def estimate_texts(estimate: Estimate | None, scale: float = 1.0) -> list[str]:
    """Mean and both ends of the interval, each times ``scale``; empty where there is no mean."""
    if estimate is None or not math.isfinite(estimate.mean):
        return []
    scaled = Estimate(*(scale * x for x in (estimate.mean, estimate.low, estimate.high)))
    return [number(x, form_of(scaled)) for x in (scaled.mean, scaled.low, scaled.high)]


def few(lines: Sequence[str], most: int = MOST_LINES, characters: int = MOST_CHARACTERS) -> list[str]:
    """The first lines, each cut where it is long, and in a last one how many there are besides."""
    shown = [line if len(line) <= characters else f"{line[:characters]} …" for line in lines[:most]]
    rest = len(lines) - len(shown)
    return [*shown, f"and {rest} more: the whole report has them"] if rest else shown


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested mapping as texts, an inner one under ``outer.inner``."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += flatten(value, f"{name}.")
        elif isinstance(value, float):
            found.append((name, f"{value:.6g}"))
        elif isinstance(value, str):
            found.append((name, value))
        else:
            found.append((name, json.dumps(value, ensure_ascii=False, default=str)))
    return found


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None
