"""Text that goes on where other text ended, to token ids and back, without a space of the tokeniser's own."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

MARKERS = ("\n", "0", ".", "a")
"""Texts to encode after, where a tokeniser puts a space in front of whatever it is given."""


class Pieces:
    """A tokeniser, for text that does not start where it starts."""

    def __init__(self, tokenizer: Any, *, split_special: bool) -> None:
        """Look whether it puts a space in front.

        Args:
            tokenizer: of ``transformers``.
            split_special: whether text that spells a special token stays text.
        """
        self._tokenizer = tokenizer
        self._split_special = split_special
        self.puts_space = self._puts_space()
        """Whether a space stands in front of text that has none, as SentencePiece has it."""

    def ids(self, text: str, *, after_token: bool = False) -> list[int]:
        """Token ids of text that goes on.

        Args:
            text: its start is cut as in the middle of a text.
            after_token: it follows a token that is no text. Some tokenisers put their space there as well, in
                every conversation they cut, and so it is left.
        """
        if self._is_inside(after_token):
            for marker in MARKERS:
                start, both = self._cut(marker), self._cut(marker + text)
                if both[: len(start)] == start:
                    return both[len(start) :]
        return self._cut(text)

    def text(self, ids: Sequence[int], *, after_token: bool, skip_special: bool) -> str:
        """Text of ids, a space at its start included: decoding alone takes it for that of the tokeniser."""
        known = self._cut(MARKERS[0]) if self._is_inside(after_token) else []
        text = self._tokenizer.decode(
            [*known, *ids], skip_special_tokens=skip_special, clean_up_tokenization_spaces=False
        )
        return str(text).removeprefix(self._seen(known) if known else "")

    def span(self, before: str, after: str) -> bool:
        """Whether some token of the two texts as one reaches from the one into the other."""
        return self.ids(before + after) != [*self.ids(before), *self.ids(after)]

    def _is_inside(self, after_token: bool) -> bool:
        """Whether a space would be put that is not there in a whole text."""
        return self.puts_space and not (after_token and self._puts_space_after_token)

    @cached_property
    def _puts_space_after_token(self) -> bool:
        """Whether it does so in every stretch of text between tokens, not in the first alone."""
        token = next(str(token) for token in self._tokenizer.added_tokens_decoder.values() if token.special)
        alone = self._cut(MARKERS[-1])
        return self.whole(token + MARKERS[-1])[-len(alone) :] == alone

    def _puts_space(self) -> bool:
        word = MARKERS[-1]
        alone = self._cut(word)
        for marker in MARKERS[:-1]:
            start, both = self._cut(marker), self._cut(marker + word)
            if start and both[: len(start)] == start and len(both) > len(start):
                seen = self._seen([*start, *alone])
                return both[len(start) :] != alone and seen == f"{self._seen(start)} {word}"
        return False

    def _seen(self, ids: Sequence[int]) -> str:
        """Text of ids from the start: a space put in front of it is seen with byte-level tokens alone."""
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def whole(self, text: str) -> list[int]:
        """Token ids of text by itself, in which what spells a special token is one."""
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _cut(self, text: str) -> list[int]:
        options = {"add_special_tokens": False, "split_special_tokens": self._split_special}
        return list(self._tokenizer(text, **options, verbose=False).input_ids)
