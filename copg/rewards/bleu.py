"""BLEU of single sentences against reference texts."""

from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.rewards.sentences import SentenceScore


@configuration
class Bleu(SentenceScore):
    """Sentence BLEU-4 against all references at once, as sacrebleu counts it, divided by 100.

    Unit: fraction, from 0 to 1. Exponential smoothing; shorter completions are compared up to the longest
    n-gram they have (effective order).
    """

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    """How sacrebleu finds words; ``zh`` for Chinese, ``char`` where words are not separated."""

    metric: ClassVar[str] = "BLEU"
    fixed: ClassVar[dict[str, Any]] = {"effective_order": True}
