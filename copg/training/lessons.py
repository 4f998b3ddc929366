"""What a reward model learns from: completions as it reads them, and how wrong their scores are."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from copg.errors import RecordError
from copg.lm.text import TextCodec
from copg.records import Group
from copg.rewards.classifier import Encoding
from copg.rewards.reward_model import HINT, Form, encode


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

    def read(self, group: Group, text: str) -> Encoding | None:
        """A completion of a prompt, 4 bytes a token instead of a list's 8; None where it is too long.

        Raises:
            RecordError: the chat template refuses the messages, or writes nothing of their tools.
        """
        try:
            ids = encode(self.codec, group.prompt, text, form=self.form, columns=group.columns).ids
        except RecordError as error:
            raise RecordError(f"{group.source}: {error}{HINT if self.form == 'chat' else ''}") from None
        if len(ids["input_ids"]) > self.max_tokens:
            return None
        return {key: array("i", of) for key, of in ids.items()}
