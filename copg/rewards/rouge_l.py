"""ROUGE-L against reference texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from copg.config import STRICT
from copg.records import Prompt
from copg.rewards.rouge import Rouge


@dataclass(frozen=True, kw_only=True)
class RougeL:
    """F measure of the longest common subsequence of words, the best over the references.

    Unit: fraction, from 0 (no word in common) to 1 (equal up to case and punctuation).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

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
