"""Prompts as a model reads them, up to where their completions start."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from copg.lm.template import Opening
from copg.records import MESSAGES

if TYPE_CHECKING:
    from copg.lm.text import TextCodec

CONTEXT = 32
"""Characters before the start of a completion, in which a token that spans it is looked for."""


def open_text(codec: "TextCodec", prompt: str) -> Opening:
    """Text with the special tokens that the tokeniser puts in front; see ``TextCodec.open``."""
    ids = list(codec.tokenizer(prompt, verbose=False).input_ids)
    bos, eos = codec.tokenizer.bos_token_id, codec.tokenizer.eos_token_id
    if bos is not None and ids[:2] == [bos, bos]:  # the text spells it, as a conversation rendered before
        ids.pop(0)
    while ids and ids[-1] == eos and eos != codec.tokenizer.bos_token_id:
        ids.pop()
    return Opening(codec.template, ids, None, "", prompt, "", "", "", prompt[-CONTEXT:])


def open_chat(codec: "TextCodec", prompt: Sequence[dict[str, Any]], columns: Mapping[str, Any]) -> Opening:
    """A conversation up to where an assistant's words start; see ``TextCodec.open``."""
    messages, begun = list(columns.get(MESSAGES) or prompt), ""
    if messages and messages[-1]["role"] == "assistant":
        begun = messages.pop()["content"]
    template = codec.template.asked(messages, columns)
    frame = template.frame(messages, begun)
    end = codec.tokenizer.convert_ids_to_tokens(codec.end_of_turn)
    before = frame.before
    lead: str | None = ""
    if codec.config.lead == "drawn" and not begun:
        before = frame.opened
        lead = frame.before[len(before) :] if frame.before.startswith(before) else None
    elif before.startswith(frame.opened) or begun:
        # a space is part of the word that follows it: [/INST] | " yes"
        least = len(frame.opened) if before.startswith(frame.opened) else 0
        cut = max(len(before.rstrip(" ")), least)
        before, lead = before[:cut], before[cut:]
    gap, found, _ = frame.after.partition(end)
    tail = before[-CONTEXT:]
    ends = [tail.rfind(token) + len(token) for token in codec.added.id_of if token in tail]
    ids = codec.ids_of(before)
    gap, context = gap if found else "", tail[max(ends, default=0) :]
    return Opening(template, ids, messages, begun, before, lead, frame.after, gap, context)
