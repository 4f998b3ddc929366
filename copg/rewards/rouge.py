"""ROUGE against reference texts."""

from collections.abc import Sequence
from typing import Literal

from copg.config import configuration
from copg.rewards.contract import Columns, OfColumn, Prompts
from copg.rewards.words import words


class UnicodeWords:
    """Words of any script, where ROUGE's own tokeniser keeps nothing but a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        """The interface ``rouge_score`` asks for."""
        return words(text)


@configuration
class RougeL(OfColumn):
    """F measure of the longest common subsequence of words, the best over the references.

    Unit: fraction, from 0 (no word in common) to 1 (equal up to case and punctuation).
    """

    column: str = "references"
    """Holds a text or a list of texts; ``meta.references`` looks inside ``meta``."""
    stem: bool = False
    """Compare stems of English words (Porter)."""
    unicode: bool = False
    """Words of any script; by default letters other than a-z are dropped, as in the original."""

    def __post_init__(self) -> None:
        if self.stem and self.unicode:
            raise ValueError("stem=True stems English words only; use it without unicode=True")

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] fractions from 0 to 1."""
        return self.measure("rougeL", "fmeasure", completions, columns)

    def measure(self, kind: str, field: str, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] ``field`` of ROUGE's scores of one kind, the best over the references."""
        from rouge_score.rouge_scorer import RougeScorer

        tokenizer = UnicodeWords() if self.unicode else None
        scorer = RougeScorer([kind], use_stemmer=self.stem, tokenizer=tokenizer)
        return [
            max(float(getattr(scorer.score(reference, text)[kind], field)) for reference in references)
            for text, references in zip(completions, self.texts(columns), strict=True)
        ]


@configuration
class Rouge(RougeL):
    """Overlap of words (``rouge1``), of word pairs (``rouge2``) or of the longest common subsequence.

    Unit: fraction, from 0 to 1, the best over the references. Lin 2004, as in Google's ``rouge-score``.
    """

    kind: Literal["rouge1", "rouge2", "rougeL"] = "rouge1"
    """Single words, pairs of words, or the longest common subsequence."""
    statistic: Literal["f", "precision", "recall"] = "f"
    """Recall alone favours long completions, precision short ones; ``f`` is their harmonic mean."""

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] fractions from 0 to 1."""
        field = "fmeasure" if self.statistic == "f" else self.statistic
        return self.measure(self.kind, field, completions, columns)
