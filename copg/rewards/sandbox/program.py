"""Which code a completion stands for. Runs jailed, since even the parser may be attacked."""

import ast
import re

_FENCED = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)```", re.S | re.I)


def program(prompt: str, completion: str, entry_point: str) -> str:
    """The code that a completion stands for.

    Args:
        prompt: code, or text with or without a fenced block of code.
        completion: code, or text with a fenced block of code.
        entry_point: the function that must come out; empty when it is not known.
    """
    given = _unfenced(prompt)
    code = _unfenced(completion)
    start = (
        re.search(rf"^[ \t]*(async\s+)?def\s+{re.escape(entry_point)}\b", given, re.M)
        if entry_point
        else None
    )
    if _defines(code, entry_point):
        # the prompt's imports and helpers come first, where they are code
        before = given[: start.start()] if start else ""
        return f"{before}\n{code}" if before.strip() and _parses(before) else code
    if start or (not _parses(code) and _parses(given + code)):
        return given + code
    return code


def _unfenced(text: str) -> str:
    found = _FENCED.search(text)
    return found[1] if found else text


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _defines(code: str, entry_point: str) -> bool:
    return (
        bool(entry_point)
        and re.search(rf"^(async\s+)?def\s+{re.escape(entry_point)}\b", code, re.M) is not None
    )
