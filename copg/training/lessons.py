"""What a reward model learns from: completions as it reads them, and how wrong their scores are."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from copg.lm.text import TextCodec
from copg.records import Prompt
from copg.rewards.classifier import Encoding
from copg.rewards.reward_model import Form, encode


class Lesson(Protocol):
    """One group."""

    @property
    def encodings(self) -> Sequence[Encoding]:
        """Of the completions that are scored."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Characters of each."""
        ...

    def loss(self, scores: Tensor) -> tuple[Tensor, float]:
        """Loss in nats and the share that is right, of [K] scores, in the mean over the group."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """What a reward model reads, and how much of it."""

    codec: TextCodec
    """Of its tokeniser."""
    form: Form
    max_tokens: int
    """Of a prompt and its completion."""

    def read(self, prompt: Prompt, text: str) -> Encoding | None:
        """A completion, 4 bytes a token instead of a list's 8; None where it is too long."""
        ids = encode(self.codec, prompt, text, form=self.form).ids
        if len(ids["input_ids"]) > self.max_tokens:
            return None
        return {key: array("i", of) for key, of in ids.items()}
