"""Words as rewards count them."""

import re

from copg.records import normal_form

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores of any script, case-folded, after NFKC."""
    return _WORD.findall(normal_form("NFKC", text).casefold())
