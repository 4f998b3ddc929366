"""The process that compares mathematical answers: a hostile expression can only hurt itself.

Reads ``[gold, completion]`` in JSON, a line each, and writes a line each: ``1``, ``0``, or ``?`` when the
gold answer holds no mathematics.
"""

import json
import re
import resource
import sys
from typing import Any

from copg.data.parents import die_with_parent

MEMORY_BYTES = 4 << 30
PLAIN_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?\s*(%|[A-Za-z]{2,}[A-Za-z ]*)?")
BOX = re.compile(r"\\boxed\s*\{")
MARKUP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\b|[{}$*\\]")
LETTER = re.compile(r"\(?([A-J])[.):]?\)?")
"""A whole answer to a question of multiple choice."""
AFTER_ANSWER = re.compile(r"(?i:answer|choice|option)(?:\s+is)?\s*:?\s*[*($]*([A-J])\b")
ALONE = re.compile(r"(?:\(([A-J])\)|^\W*([A-J])\W*$)", re.MULTILINE)
TIME = re.compile(r"\b(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*([aApP])\.?[mM]\b\.?)?")
SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]([-+]?\d+)")


def gold_expression(text: str) -> str:
    r"""A gold answer as it is usually stored, in a form that is read as one expression.

    The text after ``####`` (GSM8K) is the answer. What is neither in ``$`` nor a number with or without a
    unit is LaTeX: ``2\pi`` must not be read as 2, nor ``(1, 2)`` as two numbers.
    """
    answer = text.rpartition("####")[2].strip()
    scientific = SCIENTIFIC.fullmatch(answer)
    if scientific:
        return f"${scientific[1]} \\times 10^{{{int(scientific[2])}}}$"
    if "$" in answer or "\\boxed" in answer or PLAIN_NUMBER.fullmatch(answer):
        return answer
    return f"${answer}$"


def last_box(text: str) -> str | None:
    r"""What the last ``\boxed{..}`` of a text holds; None where there is none that is closed."""
    for start in reversed([match.end() for match in BOX.finditer(text)]):
        depth = 1
        for place in range(start, len(text)):
            depth += (text[place] == "{") - (text[place] == "}")
            if not depth:
                return text[start:place]
    return None


def read_letter(text: str) -> str | None:
    """The choice that a text names last, of A to J: in a box, after "answer", or in parentheses or alone."""
    box = last_box(text)
    if box is not None:
        found = LETTER.fullmatch(MARKUP.sub("", box).strip())
        return found[1].upper() if found else None
    for pattern in (AFTER_ANSWER, ALONE):
        if named := pattern.findall(text):
            return "".join(named[-1]).upper()
    return None


def read_time(text: str) -> tuple[int, int, int] | None:
    """The last time of day in a text, or in its last box, as hours, minutes and seconds."""
    box = last_box(text)
    found = TIME.findall(MARKUP.sub("", text if box is None else box))
    if not found:
        return None
    hours, minutes, seconds, half = found[-1]
    noon = {"": 0, "a": 0, "p": 12}[half.lower()]
    hour = int(hours) % 12 + noon if half else int(hours)
    return hour, int(minutes), int(seconds or 0)


def compare(gold: str, completion: str) -> str:
    """``1``, ``0`` or ``?``: letters of a choice and times by their text, all else by math-verify."""
    answer = gold.rpartition("####")[2].strip()
    if letter := LETTER.fullmatch(answer):
        return "1" if read_letter(completion) == letter[1].upper() else "0"
    if TIME.fullmatch(answer):
        return "1" if read_time(completion) == read_time(answer) else "0"
    from math_verify import parse, verify

    box = last_box(completion)
    completion = completion if box is None else f"\\boxed{{{box}}}"
    wanted = [e for e in parse(gold_expression(gold), parsing_timeout=None) if not isinstance(e, str)]
    if not wanted:
        return "?"
    found: list[Any] = parse(completion, parsing_timeout=None)
    # without timeouts of its own: the process that asks has the clock
    return "1" if verify(wanted, found, timeout_seconds=None) else "0"


def main() -> None:
    """Serve until standard input ends."""
    import logging

    import math_verify  # noqa: F401  (loaded before the first clock starts)

    die_with_parent()
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(flush=True)
    for line in sys.stdin:
        gold, completion = json.loads(line)
        print(compare(gold, completion), flush=True)


if __name__ == "__main__":
    main()
