"""The tokens that a tokeniser finds in text before it cuts the rest into pieces."""

import re
from collections.abc import Collection
from typing import Any


class AddedTokens:
    """They by name and by id, looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        """Read them of a tokeniser of ``transformers``."""
        tokens = tokenizer.added_tokens_decoder
        self._tokens = {index: (str(token), bool(token.special)) for index, token in tokens.items()}
        self.id_of = {name: index for index, (name, _) in self._tokens.items()}
        self.ids = frozenset(self._tokens)
        self.special_ids = frozenset(index for index, (_, special) in self._tokens.items() if special)
        spelled = sorted((self._tokens[index][0] for index in self.special_ids), key=len, reverse=True)
        self.special = re.compile("|".join(map(re.escape, spelled)) or "(?!)")
        """Finds those that are special, which are text where special tokens are split."""
        self.takes_before, self.takes_after = (
            frozenset(index for index, token in tokens.items() if getattr(token, side))
            for side in ("lstrip", "rstrip")
        )
        """Those that take the white space before, and after them, where a whole text is cut."""

    def read_among(self, ids: Collection[int], *, special: bool) -> dict[str, int]:
        """Of some tokens, those that text which spells them is read as, by name.

        Args:
            ids: of them.
            special: whether special ones are read at all.
        """
        found = {index: self._tokens[index] for index in sorted(ids) if index in self._tokens}
        return {name: index for index, (name, is_special) in found.items() if special or not is_special}
