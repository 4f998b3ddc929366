"""chrF of single sentences against reference texts."""

from typing import ClassVar

from copg.config import Natural, configuration
from copg.rewards.sentences import SentenceScore


@configuration
class Chrf(SentenceScore):
    """F2 measure of character n-grams, the best over the references, as sacrebleu counts it, divided by 100.

    Unit: fraction, from 0 to 1. Needs no notion of a word, so it serves languages without spaces.
    """

    word_order: Natural = 0
    """2 counts words and word pairs as well: chrF++."""

    metric: ClassVar[str] = "CHRF"
