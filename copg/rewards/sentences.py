"""Scores of sacrebleu for single sentences against reference texts."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, ClassVar

from copg.config import configuration
from copg.rewards.contract import Columns, OfColumn, Prompts, missing_package


@configuration
class SentenceScore(OfColumn):
    """What a metric of sacrebleu gives a completion against all its references, divided by 100.

    The settings of a subclass are those of the metric.
    """

    column: str = "references"
    """Holds a text or a list of texts."""
    lowercase: bool = False
    """Whether capitals count as small letters."""

    metric: ClassVar[str]
    """Its class in sacrebleu, in a module of the same name."""
    fixed: ClassVar[dict[str, Any]] = {}
    """Settings of the metric that are not for a recipe to choose."""

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] fractions from 0 to 1."""
        try:
            module = import_module(f"sacrebleu.metrics.{self.metric.lower()}")
        except ImportError:
            raise missing_package("sacrebleu") from None
        settings = {name: value for name, value in asdict(self).items() if name != "column"}
        score = getattr(module, self.metric)(**settings, **self.fixed).sentence_score
        return [
            # rounding lets a perfect score pass 100 by some 1e-13
            min(score(text, references).score / 100, 1.0)
            for text, references in zip(completions, self.texts(columns), strict=True)
        ]
