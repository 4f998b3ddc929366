"""ROUGE against reference texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.records import Prompt
from copg.rewards.contract import read_texts
from copg.rewards.words import words


class UnicodeWords:
    """Words of any script, where ROUGE's own tokeniser keeps nothing but a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        """The interface ``rouge_score`` asks for."""
        return words(text)


@configuration
class Rouge:
    """Overlap of words (``rouge1``), of word pairs (``rouge2``) or of the longest common subsequence.

    Unit: fraction, from 0 to 1, the best over the references. Lin 2004, as in Google's ``rouge-score``.
    """

    kind: Literal["rouge1", "rouge2", "rougeL"] = "rouge1"
    column: str = "references"
    """Holds a text or a list of texts; ``meta.references`` looks inside ``meta``."""
    statistic: Literal["f", "precision", "recall"] = "f"
    """Recall alone favours long completions, precision short ones; ``f`` is their harmonic mean."""
    stem: bool = False
    """Compare stems of English words (Porter)."""
    unicode: bool = False
    """Words of any script; by default letters other than a-z are dropped, as in the original."""

    reads_prompt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.stem and self.unicode:
            raise ValueError("stem=True stems English words only; use it without unicode=True")

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.column,)

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[str], columns: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """[N] fractions from 0 to 1."""
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(
            [self.kind], use_stemmer=self.stem, tokenizer=UnicodeWords() if self.unicode else None
        )
        field = "fmeasure" if self.statistic == "f" else self.statistic
        return [
            max(
                float(getattr(scorer.score(reference, text)[self.kind], field))
                for reference in read_texts(row, self.column, i)
            )
            for i, (text, row) in enumerate(zip(completions, columns, strict=True))
        ]


@configuration
class RougeL:
    """F measure of the longest common subsequence of words, the best over the references.

    Unit: fraction, from 0 (no word in common) to 1 (equal up to case and punctuation).
    """

    column: str = "references"
    """Holds a text or a list of texts; ``meta.references`` looks inside ``meta``."""
    stem: bool = False
    """Compare stems of English words (Porter)."""
    unicode: bool = False
    """Words of any script; by default letters other than a-z are dropped, as in the original."""

    reads_prompt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _ = self._rouge

    @property
    def _rouge(self) -> Rouge:
        return Rouge(kind="rougeL", column=self.column, stem=self.stem, unicode=self.unicode)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.column,)

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[str], columns: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """[N] fractions from 0 to 1."""
        return self._rouge(prompts, completions, columns)
