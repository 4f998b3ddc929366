"""Scores of sacrebleu for single sentences against reference texts."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from copg.rewards.contract import missing_package, read_texts


def sentence_scores(
    metric: str,
    completions: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
    column: str,
    **settings: Any,
) -> list[float]:
    """[N] fractions from 0 to 1.

    Args:
        metric: its class in sacrebleu, in a module of the same name.
        completions: one a row.
        columns: of each row.
        column: holds a text or a list of texts.
        settings: of the metric.
    """
    try:
        module = import_module(f"sacrebleu.metrics.{metric.lower()}")
    except ImportError:
        raise missing_package("sacrebleu") from None
    score = getattr(module, metric)(**settings).sentence_score
    return [
        # rounding lets a perfect score pass 100 by some 1e-13
        min(score(text, read_texts(row, column, i)).score / 100, 1.0)
        for i, (text, row) in enumerate(zip(completions, columns, strict=True))
    ]
