"""A learned reward model: any sequence classifier with one output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.errors import ModelError, RecordError
from copg.lm.judged import judged_ids
from copg.lm.text import TextCodec
from copg.records import MESSAGES, SETTINGS, TOOLS, Prompt, as_chat, prompt_text
from copg.rewards.contract import Columns, Prompts, RecordFault
from copg.rewards.weights import OfClassifier

Form = Literal["chat", "pair", "text"]
HINT = "; form: text has the reward model read the words alone"


@configuration
class RewardModel(OfClassifier):
    """The scalar a reward model gives to a prompt with its completion.

    Unit: the model's own (a logit, when it was trained on pairs); any finite number.
    """

    model: str = ""
    """Directory, or name on the hub together with ``revision``; empty: the one that the pipeline trains by
    the recipe's section ``reward``."""
    form: Form | None = None
    """What the model reads, see ``encode``. None: ``chat`` when its tokeniser has a chat template,
    ``pair`` when it has a separator token, else ``text``."""
    too_long: Literal["refuse", "cut_prompt"] = "refuse"
    """Whether a longer sequence is an error or loses the start of its prompt."""

    reads: ClassVar[tuple[str, ...]] = ()
    may_read: ClassVar[tuple[str, ...]] = (TOOLS, SETTINGS, MESSAGES)

    def content(self) -> dict[str, str]:
        """What the model is, wherever it lies."""
        return super().content() if self.model else {"model": "trained"}

    @cached_property
    def _scorer(self) -> Any:
        if not self.model:
            raise ModelError("names no model: set params.model to a directory, such as copg reward leaves")
        num_labels = self.classifier.config.num_labels
        if num_labels != 1:
            raise ModelError(f"{self.model}: gives {num_labels} numbers, a reward model gives 1")
        return self.classifier

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] the model's scalar."""
        codec = TextCodec(self._scorer.tokenizer)
        form = self.form or pick_form(codec.tokenizer)
        encodings = [
            self._read(i, codec, *each, form)
            for i, each in enumerate(zip(prompts, completions, columns, strict=True))
        ]
        logits = self._scorer.logits(encodings, tokens_per_batch=self.tokens_per_batch)
        for i, row in enumerate(logits):
            self._scorer.check_finite(i, row)
        return [float(row[0]) for row in logits]

    def _read(
        self, index: int, codec: TextCodec, prompt: Prompt, text: str, columns: Mapping[str, Any], form: Form
    ) -> dict[str, list[int]]:
        try:
            return self._fit(index, encode(codec, prompt, text, form=form, columns=columns))
        except RecordError as error:
            raise RecordFault(index, f"{error}{HINT if form == 'chat' else ''}") from None

    def _fit(self, index: int, encoded: "EncodedPair") -> dict[str, list[int]]:
        limit = self._scorer.max_tokens
        excess = len(encoded.ids["input_ids"]) - limit
        if excess <= 0:
            return encoded.ids
        if self.too_long == "refuse" or excess > encoded.prompt_tokens:
            raise RecordFault(
                index,
                f"{excess + limit} tokens are more than the {limit} the model reads; "
                "raise max_tokens if it can read more, or set too_long: cut_prompt",
            )
        start = encoded.prompt_start
        return {key: [*ids[:start], *ids[start + excess :]] for key, ids in encoded.ids.items()}


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """What a reward model reads, and where it can be shortened."""

    ids: dict[str, list[int]]
    """``input_ids``, and ``token_type_ids`` where the model has them."""
    prompt_start: int
    """Tokens before the first that may be cut."""
    prompt_tokens: int
    """How many may be cut from there."""


def pick_form(tokenizer: Any) -> Form:
    """How a model with this tokeniser is usually fed."""
    if tokenizer.chat_template is not None:
        return "chat"
    return "pair" if tokenizer.sep_token_id is not None else "text"


def encode(
    codec: TextCodec,
    prompt: Prompt,
    completion: str,
    *,
    form: Form,
    columns: Mapping[str, Any] | None = None,
) -> EncodedPair:
    """Token ids of a prompt with its completion.

    Args:
        codec: of the model's tokeniser.
        prompt: text or chat messages.
        completion: text.
        form: ``chat``: the chat template over the messages and the completion as the assistant's (a text
            is the user's message); ``pair``: two segments, as BERT reads them; ``text``: prompt, completion
            and the end-of-sequence token, where there is one.
        columns: what else the record holds: ``chat`` gives the template its tools, its calls of tools, and
            those of its ``chat_template_kwargs`` that it reads; the other forms are of words alone.

    Raises:
        ModelError: ``chat`` without a chat template.
        RecordError: the template refuses the messages, or writes nothing of their tools.
    """
    if form == "chat":
        return _encode_chat(codec, prompt, completion, columns or {})
    tokenizer = codec.tokenizer
    text = prompt_text(prompt)
    if form == "pair":
        whole = tokenizer(text, completion, verbose=False)
        ids = {key: list(whole[key]) for key in ("input_ids", "token_type_ids") if key in whole}
        start = whole.sequence_ids().index(0) if 0 in whole.sequence_ids() else 0
        return EncodedPair(ids, start, whole.sequence_ids().count(0))
    opening = codec.open(text)
    end = tokenizer.eos_token_id is not None
    said = codec.encode(opening, completion, finished=end).ids
    start = int(opening.ids[0] == tokenizer.bos_token_id)
    return EncodedPair({"input_ids": [*opening.ids, *said]}, start, len(opening.ids) - start)


def _encode_chat(
    codec: TextCodec, prompt: Prompt, completion: str, columns: Mapping[str, Any]
) -> EncodedPair:
    if codec.tokenizer.chat_template is None:
        raise ModelError("form: chat, but the reward model's tokeniser has no chat template")
    messages = as_chat(prompt)
    # the template writes the start token itself: one made by the tokeniser as well would be a second
    whole, opened = (judged_ids(codec, messages, text, columns) for text in (completion, None))
    start = int(bool(whole) and whole[0] == codec.tokenizer.bos_token_id)
    return EncodedPair({"input_ids": whole}, start, max(0, min(len(opened), len(whole)) - start))
