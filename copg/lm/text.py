"""From prompts and completions to token ids and back: the one place that decides what the model reads."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from copg.errors import ModelError, RecordError
from copg.lm.added_tokens import AddedTokens
from copg.lm.config import TextConfig
from copg.lm.encoded import Encoded
from copg.lm.end_of_turn import find_end_of_turn
from copg.lm.pieces import Pieces
from copg.lm.prompts import Prompts
from copg.lm.speech import Speech
from copg.lm.template import Opening, Template
from copg.records import Prompt

HEAD = 48
"""Characters after the start of a completion, in which a token that spans it is looked for."""


class TextCodec:
    """Text to ids and back, by one tokeniser, its template and one way to read them.

    The ids of a completion are those that the model would draw to say it: the ids of the conversation that
    the template renders whole, cut where the prompt ends, up to the first token that ends the turn.
    """

    def __init__(
        self, tokenizer: Any, config: TextConfig | None = None, named_ends: Collection[int] = ()
    ) -> None:
        """Look at the tokeniser once.

        Args:
            tokenizer: of ``transformers``, with a backend of ``tokenizers``.
            config: how to read templates, thinking and special tokens.
            named_ends: ids that the model's configuration names as ends. One that is none of the tokeniser's
                special tokens is a left-over default and ends nothing.
        """
        self.tokenizer = tokenizer
        self.config = config or TextConfig()
        self.template = Template(tokenizer, self.config.template_kwargs, self.config.day())
        self.added = AddedTokens(tokenizer)
        """The tokens that are found in text before it is cut into words."""
        lead_drawn = self.config.lead == "drawn"
        self._prompts = Prompts(tokenizer, self.template, self.added, lead_drawn=lead_drawn)
        self._named = frozenset(named_ends) & self.added.special_ids
        self._speech = Speech(self.config, self.added.special)
        self.pieces = Pieces(tokenizer, split_special=self.config.special_tokens == "text")
        """Words to ids, whatever stands before them."""

    @property
    def end_of_text(self) -> int:
        """The token that ends plain text.

        Raises:
            ModelError: the tokeniser has none.
        """
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the tokeniser has no end-of-sequence token, so a completion could never end")
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def end_of_turn(self) -> int:
        """The token that ends an assistant's turn.

        Raises:
            ModelError: it cannot be told, or there is no template.
        """
        return find_end_of_turn(self.template, self.added.id_of, self.end_of_text, self._named)

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens that end what is drawn: the ends of turn and of text, and others that the model names."""
        ends = set(self._named)
        with suppress(ModelError):  # of a reward model, which draws nothing
            ends.add(self.end_of_text)
        with suppress(ModelError, RecordError):  # then no chat can be a prompt
            ends.add(self.end_of_turn)
        return frozenset(ends)

    def about(self) -> dict[str, Any]:
        """Facts for a manifest: the tokens that end a turn and a text, and all that end what is drawn."""
        turn = None
        with suppress(ModelError, RecordError):
            turn = self.end_of_turn
        name = self.tokenizer.convert_ids_to_tokens
        return {
            "end_of_turn": None if turn is None else name(turn),
            "end_of_text": name(self.end_of_text),
            "stops": sorted(map(name, self.stops)),
        }

    @property
    def ending(self) -> str:
        """In words, what ends a completion."""
        about = self.about()
        turn, text = about["end_of_turn"], about["end_of_text"]
        if turn is None:
            return f"a completion ends with `{text}`"
        return f"a turn ends with `{turn}`" + ("" if turn == text else f", plain text with `{text}`")

    def open(self, prompt: Prompt, columns: Mapping[str, Any] | None = None) -> Opening:
        """A prompt, up to where its completions start.

        Text gets the special tokens that the tokeniser puts in front, where it does not spell them itself,
        and loses an end-of-sequence token that some append. A chat goes through the template; an assistant's
        message at its end is gone on with.

        Args:
            prompt: of a record.
            columns: whatever else the record holds: the template is given what ``asked`` finds there, and
                the messages that stand there whole.

        Raises:
            ModelError: chat messages without a chat template, or a turn whose end cannot be told.
            RecordError: the template refuses the messages, or a prompt has no tokens at all (the first
                completion token would have nothing to be predicted from).
        """
        if isinstance(prompt, str):
            opening = self._prompts.text(prompt)
        else:
            opening = self._prompts.chat(prompt, columns or {}, lambda: self.end_of_turn)
        if not opening.ids:
            raise RecordError(f"prompt {prompt!r:.60} has no tokens, and the tokeniser adds no start token")
        return opening

    def spells_special_tokens(self, prompt: Prompt) -> bool:
        """Whether a prompt spells special tokens in its text, which the model then reads as such."""
        texts = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
        return any(self.added.special.search(text) for text in texts)

    def encode(self, opening: Opening, text: str, *, finished: bool, boundary: bool = True) -> Encoded:
        """Token ids of a completion, apart from its prompt, so that the boundary between them never moves.

        Args:
            opening: its prompt.
            text: as it was logged; what spells a special token is text unless ``special_tokens`` says else.
            finished: append the token that ends the turn, of plain text the end of text; False for a
                completion that was cut off. One that ends with such a token, read as one, is finished.
            boundary: look for a token across the start, which takes as long as all else.

        Raises:
            ModelError: there is no such token.
            RecordError: ``thinking`` refuses it, the template does not write such words, or it goes on after
                a token at which the model stops.
        """
        notes = ["spells_special_tokens"] if self.added.special.search(text) else []
        spelled = next((token for token in self._read_ends if text.endswith(token)), "")
        text, end = text.removesuffix(spelled), self._read_ends.get(spelled)
        if end is None and finished:
            end = self.end_of_text if opening.messages is None else self.end_of_turn
        drawn = text
        if opening.messages is not None:
            gap = opening.gap if end is not None and end == self.end_of_turn else ""
            drawn = self._speech.drawn(opening, text, notes) + gap
        after_token = opening.ids[-1] in self.added.ids
        own = self._tokens_of_template(opening, drawn)
        ids = self.pieces.whole(own) if own else []
        kept = drawn.rstrip() if end in self.added.takes_before else drawn
        said = self.pieces.ids(kept[len(own) :], after_token=after_token or bool(own))
        if (stop := next((token for token in said if token in self.stops), None)) is not None:
            name = self.tokenizer.convert_ids_to_tokens(stop)
            raise RecordError(f"it goes on after {name!r}, at which the model stops")
        ids += said
        if self.pieces.text(ids, after_token=after_token, skip_special=False) != drawn:
            notes.append("changed_by_tokenizer")
        if boundary and drawn and self._merges(opening, drawn):
            notes.append("merges_with_prompt")
        if end is not None:
            ids.append(end)
        return Encoded(ids, tuple(notes))

    @cached_property
    def _read_ends(self) -> dict[str, int]:
        """The tokens that end what is drawn and that text is read as where it spells them."""
        return self.added.read_among(self.stops, special=self.config.special_tokens == "tokens")

    def _merges(self, opening: Opening, drawn: str) -> bool:
        """Whether, in one text, a token would span the start of what is drawn, or take its first space."""
        if opening.ids[-1] in self.added.takes_after and drawn[0].isspace():
            return True
        return bool(opening.context) and self.pieces.span(opening.context, drawn[:HEAD])

    def _tokens_of_template(self, opening: Opening, drawn: str) -> str:
        """The start of what is drawn that the template wrote, up to its last special token.

        It is read as tokens whatever the words after it are read as.
        """
        own = max((found.end() for found in self.added.special.finditer(opening.lead or "")), default=0)
        return drawn[:own] if drawn.startswith((opening.lead or "")[:own]) else ""

    def rendered(self, text: str, after: int) -> list[int]:
        """Ids of text that the template wrote after a token: what spells a special token is one."""
        ids: list[int] = []
        at = 0
        for found in [*self.added.special.finditer(text), None]:
            words = text[at : found.start() if found else len(text)]
            after_token = (ids or [after])[-1] in self.added.ids
            ids += self.pieces.ids(words, after_token=after_token) if words else []
            if found:
                ids.append(self.added.id_of[found.group()])
                at = found.end()
        return ids

    def decode(self, ids: Sequence[int], prompt_ids: Sequence[int]) -> str:
        """Text of a completion that was drawn after a prompt.

        Without special tokens; where ``special_tokens`` is ``tokens``, with all but the one that ended it,
        which some tokenisers do not count among their special ones.
        """
        skip = self.config.special_tokens == "text"
        if ids and ids[-1] in self.stops:
            ids = ids[:-1]
        return self.pieces.text(ids, after_token=prompt_ids[-1] in self.added.ids, skip_special=skip)

    def read_back(self, opening: Opening, encoded: Encoded) -> str:
        """What rewards read of a logged completion: its words as they come back from a model that drew it."""
        return self.said(opening, self.decode(encoded.ids, opening.ids))

    def said(self, opening: Opening, drawn: str) -> str:
        """The words alone of a completion that was drawn: without what the template writes around them."""
        lead, gap = opening.lead or "", opening.gap
        if self.config.special_tokens == "text":
            lead = self.added.special.sub("", lead)
        return drawn.removeprefix(lead).removesuffix(gap) if opening.messages is not None else drawn

    def ids_of(self, rendered: str) -> list[int]:
        """Ids of a conversation as the template wrote it, cut as one text."""
        return self._prompts.ids(rendered)
