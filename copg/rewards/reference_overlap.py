"""How much of what a completion should say it does say."""

from collections.abc import Sequence
from typing import Literal

from copg.config import configuration
from copg.rewards.contract import Columns, OfColumn, Prompts, RecordFault
from copg.rewards.words import words


@configuration
class ReferenceOverlap(OfColumn):
    """Fraction of the key facts, or of a reference's distinct words, that the completion contains.

    Unit: fraction, from 0 to 1. Case and punctuation do not count.
    """

    column: str = "references"
    """Holds a text or a list of texts; ``meta.facts`` looks inside ``meta``."""
    mode: Literal["words", "facts"] = "words"
    """``facts``: each text is a fact, contained when its words follow one another in the completion.
    ``words``: each text is a whole reference; the best one counts."""

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] fractions from 0 to 1."""
        return [
            self._covered(i, words(text), [words(t) for t in texts])
            for i, (text, texts) in enumerate(zip(completions, self.texts(columns), strict=True))
        ]

    def _covered(self, index: int, completion: list[str], texts: list[list[str]]) -> float:
        if not all(texts):
            raise RecordFault(index, f"column '{self.column}' holds a text without any word")
        if self.mode == "facts":
            # a space on both sides, so that "art" is not found in "party"
            said = f" {' '.join(completion)} "
            return sum(f" {' '.join(fact)} " in said for fact in texts) / len(texts)
        present = set(completion)
        return max(len(set(text) & present) / len(set(text)) for text in texts)
