"""chrF of single sentences against reference texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from copg.config import Natural, configuration
from copg.records import Prompt
from copg.rewards.sentences import sentence_scores


@configuration
class Chrf:
    """F2 measure of character n-grams, the best over the references, as sacrebleu counts it, divided by 100.

    Unit: fraction, from 0 to 1. Needs no notion of a word, so it serves languages without spaces.
    """

    column: str = "references"
    """Holds a text or a list of texts."""
    word_order: Natural = 0
    """2 counts words and word pairs as well: chrF++."""
    lowercase: bool = False

    reads_prompt: ClassVar[bool] = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.column,)

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[str], columns: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """[N] fractions from 0 to 1."""
        options = {"word_order": self.word_order, "lowercase": self.lowercase}
        return sentence_scores("CHRF", completions, columns, self.column, **options)
