"""Completions of several turns, in which tools answer: what of them the model drew, and what it only read.

The conversation is rendered whole. Where a turn begins is told by rendering what comes before it, where it
ends by the first token that ends a turn; a template that marks what is generated must say the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from copg.errors import RecordError
from copg.lm.calls import CALLS
from copg.lm.encoded import Encoded
from copg.lm.template import CLOSES_THINKING, SENTINEL, Opening
from copg.lm.text import TextCodec
from copg.lm.written import (
    THOUGHTS,
    Message,
    Span,
    check_marks,
    check_parts,
    check_words,
    texts_of,
    unwritten,
)

SHOWN = 24
"""Characters of what a template writes otherwise."""


@dataclass(frozen=True, slots=True)
class Turned:
    """Turns as a model draws and reads them."""

    encoded: Encoded
    """Ids from the first word on; those that are read and not drawn as their complements ``~id``."""
    text: str
    """What was drawn, turn by turn, as it comes back from a model: what rewards read."""


def encode_turns(
    codec: TextCodec, opening: Opening, turns: Sequence[Message], *, finished: bool, boundary: bool = True
) -> Turned:
    """Token ids of a completion of several messages, of which only the assistant's are scored.

    Args:
        codec: of the model.
        opening: of the prompt.
        turns: messages that begin and end with the assistant's.
        finished: whether the last was drawn to its end.
        boundary: look for a token across the start or the end of a turn.

    Raises:
        RecordError: the template refuses or rewrites them, or leaves out something of what they hold;
            ``text.thinking`` refuses what was thought; or the template's own marks of what is generated are
            others.
    """
    if opening.messages is None or opening.begun:
        raise RecordError("messages with tools go on after a question, not after text or a begun answer")
    notes: list[str] = []
    said = [_as_configured(codec, message, notes) for message in turns]
    if any(codec.spells_special_tokens(text) for message in said for text in texts_of(message)):
        notes.append("spells_special_tokens")
    whole = opening.template.render([*opening.messages, *said])
    spans = _spans(codec, opening, said, whole)
    check_words(said, [whole[span.start : span.end] for span in spans], notes)
    check_parts(opening, said)
    check_marks(opening, said, whole, spans)
    ids: list[int] = []
    texts: list[str] = []
    at = len(opening.before)
    for number, span in enumerate(spans):
        before = opening.ids[-1]
        if context := whole[at : span.start]:
            read = codec.rendered(context, _plain(ids)[-1] if ids else before)
            ids += [~token for token in read]
        after = _plain(ids)[-1] if ids else before
        drawn = codec.rendered(whole[span.start : span.end], after)
        texts.append(codec.said(opening, codec.decode(drawn, [after])))
        ids += drawn
        if finished or number < len(spans) - 1:
            ids.append(codec.tokenizer.convert_tokens_to_ids(span.stop))
        at = span.end + len(span.stop)
    # an end that the template leaves to whoever draws it stands nowhere in the conversation
    ended = not finished or whole.startswith(spans[-1].stop, spans[-1].end)
    known = [*opening.ids, *_plain(ids if ended else ids[:-1])]
    if boundary and codec.ids_of(whole)[: len(known)] != known:
        notes.append("merges_with_prompt")
    return Turned(Encoded(ids, tuple(dict.fromkeys(notes))), "\n\n".join(filter(None, texts)))


def _plain(ids: Sequence[int]) -> list[int]:
    return [~token if token < 0 else token for token in ids]


def _as_configured(codec: TextCodec, message: Message, notes: list[str]) -> dict[str, Any]:
    """A message with or without what was thought, as ``text.thinking`` says."""
    held = dict(message)
    if held["role"] != "assistant":
        return held
    close = next((marker for marker in CLOSES_THINKING if marker in held["content"]), None)
    thought = [name for name in THOUGHTS if held.get(name)]
    if (not thought and close is None) or codec.config.thinking == "keep":
        return held
    if codec.config.thinking == "refuse":
        raise RecordError(f"thinking in {thought or close!r}: set text.thinking to strip or keep")
    notes.append("thinking_stripped")
    for name in thought:
        del held[name]
    if close is not None:
        held["content"] = held["content"].rpartition(close)[2].lstrip("\n")
    return held


def _spans(codec: TextCodec, opening: Opening, said: Sequence[dict[str, Any]], whole: str) -> list[Span]:
    """Of each turn of the assistant's.

    Raises:
        RecordError: the template writes what comes before a turn otherwise once it is there, or does not end
            a turn before what comes after it.
    """
    stops = codec.tokenizer.convert_ids_to_tokens(sorted(codec.stops))
    spans: list[Span] = []
    at = 0
    for place, message in enumerate(said):
        if message["role"] != "assistant":
            continue
        if any(stop in text for stop in stops for text in texts_of(message)):
            raise RecordError("a turn beside tools spells a token that ends turns")
        start = _start(codec, opening, said, place, whole)
        ends = sorted((end, stop) for stop in stops if (end := whole.find(stop, start)) >= 0)
        if not ends and place + 1 == len(said) and CALLS not in message and not opening.after.strip():
            # the template leaves the end of a conversation to whoever draws it, as it does of plain words
            end_of_turn = codec.tokenizer.convert_ids_to_tokens(codec.end_of_turn)
            ends = [(len(whole.removesuffix(opening.after)), end_of_turn)]
        if start < at or not ends or ends[0][0] >= _next_words(opening, said, place, whole):
            raise RecordError(
                f"the chat template ends message {place + 1} of the completion with none of {stops}, at "
                "which its model stops: eos_token_id of generation_config.json names further ones"
            )
        spans.append(Span(start, *ends[0]))
        at = ends[0][0] + len(ends[0][1])
    return spans


def _start(codec: TextCodec, opening: Opening, said: Sequence[dict[str, Any]], place: int, whole: str) -> int:
    """Where in the conversation a turn begins.

    Raises:
        RecordError: the template writes what comes before it otherwise once it is there.
    """
    before, messages = opening.before, list(opening.messages or ())
    if place:
        opened = opening.template.render(messages, generation_prompt=True)
        lead = opening.before[len(opened) :] if opening.before.startswith(opened) else ""
        before = opening.template.render([*messages, *said[:place]], generation_prompt=True)
        before += lead if whole.startswith(before + lead) else ""
        if codec.config.lead == "prompt" and not whole.startswith(before):
            before = _up_to_words(opening, said, place) or before
    if not whole.startswith(before):
        same = sum(1 for _ in takewhile(bool, (a == b for a, b in zip(before, whole, strict=False))))
        was, now = (text[same : same + SHOWN] for text in (before, whole))
        raise RecordError(
            f"the chat template writes what stands before message {place + 1} of the completion otherwise "
            f"once that is there ({was!r} becomes {now!r}); {_advice(codec, said[:place])}"
        )
    return len(before)


def _advice(codec: TextCodec, before: Sequence[Message]) -> str:
    """What may help where a template writes in one place what it does not write in another."""
    if codec.config.lead == "prompt":
        return "where it adds thinking, text.lead: drawn may help"
    if any(message.get(name) for message in before for name in THOUGHTS):
        return "where it leaves out what was thought earlier, text.thinking: strip may help"
    if any(CALLS in message and message["content"] for message in before):
        return "where it leaves out words beside earlier calls, leave them out of the record"
    return "where it begins to think, text.lead: prompt may help"


def _up_to_words(opening: Opening, said: Sequence[dict[str, Any]], place: int) -> str | None:
    """The conversation up to the content of a message; None where the template does not write it."""
    marked = {**said[place], "content": SENTINEL + said[place]["content"]}
    every = [*(opening.messages or ()), *said[:place], marked, *said[place + 1 :]]
    before, found, _ = opening.template.render(every).partition(SENTINEL)
    return before if found else None


def _next_words(opening: Opening, said: Sequence[dict[str, Any]], place: int, whole: str) -> int:
    """Where in the conversation stands what a tool said after a turn; beyond its end where none did.

    Raises:
        RecordError: the template does not write what the tool said.
    """
    if place + 1 == len(said) or said[place + 1]["role"] == "assistant":
        return len(whole) + 1
    before = _up_to_words(opening, said, place + 1)
    if before is None:
        raise RecordError(unwritten(place + 2))
    return len(before)
