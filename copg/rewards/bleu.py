"""BLEU of single sentences against reference texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.records import Prompt
from copg.rewards.sentences import sentence_scores


@configuration
class Bleu:
    """Sentence BLEU-4 against all references at once, as sacrebleu counts it, divided by 100.

    Unit: fraction, from 0 to 1. Exponential smoothing; shorter completions are compared up to the longest
    n-gram they have (effective order).
    """

    column: str = "references"
    """Holds a text or a list of texts."""
    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    """How sacrebleu finds words; ``zh`` for Chinese, ``char`` where words are not separated."""
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
        options = {"effective_order": True, "tokenize": self.tokenize, "lowercase": self.lowercase}
        return sentence_scores("BLEU", completions, columns, self.column, **options)
