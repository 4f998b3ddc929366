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


def compare(gold: str, completion: str) -> str:
    """``1``, ``0`` or ``?``, by math-verify."""
    from math_verify import parse, verify

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
