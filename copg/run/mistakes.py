"""Mistakes of a recipe in one line: which they are, and each of them once."""

import re
from collections.abc import Sequence

BEGINS = re.compile(r"[a-z_]+(\.\w+)*(=| is unknown| is missing)")
"""How a mistake begins."""
MEANT = re.compile(r"((?:\w+\.)*)\w+ is unknown; .*; did you mean '(\w+)'\?")


def apart(mistakes: str) -> list[str]:
    """The mistakes of one line, each of which begins with its key; what follows is of the one before."""
    found: list[str] = []
    for part in mistakes.split("; "):
        if found and not BEGINS.match(part):
            found[-1] += f"; {part}"
        else:
            found.append(part)
    return found


def without_echoes(lines: Sequence[str]) -> list[str]:
    """Lines without those of a key that is missing since it is misspelt, which another line tells."""
    meant = {f"{found[1]}{found[2]} is missing" for line in lines if (found := MEANT.fullmatch(line))}
    return [line for line in lines if line not in meant]
