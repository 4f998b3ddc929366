"""Prompts as a model reads them, up to where their completions start."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from copg.lm.added_tokens import AddedTokens
from copg.lm.template import Opening, Template, words_begun
from copg.records import MESSAGES

CONTEXT = 32
"""Characters before the start of a completion, in which a token that spans it is looked for."""


class Prompts:
    """A tokeniser and its template, which open prompts."""

    def __init__(self, tokenizer: Any, template: Template, added: AddedTokens, *, lead_drawn: bool) -> None:
        """Keep what opens them.

        Args:
            tokenizer: of ``transformers``.
            template: its chat template.
            added: the tokens that are found in text before it is cut into words.
            lead_drawn: what the template writes before an assistant's words is drawn, not of the prompt.
        """
        self._tokenizer = tokenizer
        self._template = template
        self._added = added
        self._lead_drawn = lead_drawn

    def text(self, prompt: str) -> Opening:
        """Text, as ``TextCodec.open`` says."""
        ids = list(self._tokenizer(prompt, verbose=False).input_ids)
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if bos is not None and ids[:2] == [bos, bos]:  # the text spells it, as a conversation rendered before
            ids.pop(0)
        while ids and ids[-1] == eos and eos != bos:
            ids.pop()
        return Opening(self._template, ids, None, "", prompt, "", "", "", prompt[-CONTEXT:])

    def chat(
        self, prompt: Sequence[dict[str, Any]], columns: Mapping[str, Any], end_of_turn: Callable[[], int]
    ) -> Opening:
        """A conversation, as ``TextCodec.open`` says; the end of a turn is asked for once the template
        took the messages.
        """
        messages, begun = list(columns.get(MESSAGES) or prompt), ""
        if messages and messages[-1]["role"] == "assistant":
            begun = words_begun(messages.pop())
        template = self._template.asked(messages, columns)
        frame = template.frame(messages, begun)
        end = self._tokenizer.convert_ids_to_tokens(end_of_turn())
        before = frame.before
        lead: str | None = ""
        if self._lead_drawn and not begun:
            before = frame.opened
            lead = frame.before[len(before) :] if frame.before.startswith(before) else None
        elif before.startswith(frame.opened) or begun:
            # a space is part of the word that follows it: [/INST] | " yes"
            least = len(frame.opened) if before.startswith(frame.opened) else 0
            cut = max(len(before.rstrip(" ")), least)
            before, lead = before[:cut], before[cut:]
        gap, found, _ = frame.after.partition(end)
        tail = before[-CONTEXT:]
        ends = [tail.rfind(token) + len(token) for token in self._added.id_of if token in tail]
        ids = self.ids(before)
        gap, context = gap if found else "", tail[max(ends, default=0) :]
        return Opening(template, ids, messages, begun, before, lead, frame.after, gap, context)

    def ids(self, rendered: str) -> list[int]:
        """Ids of a conversation as the template wrote it, cut as one text."""
        return list(self._tokenizer(rendered, add_special_tokens=False, verbose=False).input_ids)
