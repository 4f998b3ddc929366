"""Words as rewards count them."""

import re
import unicodedata

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores of any script, case-folded, after NFKC."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
