"""Completions of several turns, in which tools answer: what of them the model drew, and what it only read.

The conversation is rendered whole. Where a turn begins is told by rendering what comes before it, where it
ends by the first token that ends a turn; a template that marks what is generated must say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copg.errors import RecordError
from copg.lm.calls import CALLS, check_written
from copg.lm.encoded import Encoded
from copg.lm.template import CLOSES_THINKING, SENTINEL, Opening
from copg.lm.text import TextCodec

THOUGHTS = ("reasoning_content", "thinking")
"""Where a message holds what was thought beside its words."""
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turned:
    """Turns as a model draws and reads them."""

    encoded: Encoded
    """Ids from the first word on; those that are read and not drawn as their complements ``~id``."""
    text: str
    """What was drawn, turn by turn, as it comes back from a model: what rewards read."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where in the conversation a turn stands."""

    start: int
    end: int
    stop: str
    """The token that ends it."""


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
    if codec.spells_special_tokens([message for message in said if message["role"] == "assistant"]):
        notes.append("spells_special_tokens")
    whole = opening.template.render([*opening.messages, *said])
    spans = _spans(codec, opening, said, whole)
    _check_words(said, [whole[span.start : span.end] for span in spans], notes)
    _check_marks(opening, said, whole, spans)
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
    if boundary and codec.ids_of(whole)[: len(opening.ids) + len(ids)] != [*opening.ids, *_plain(ids)]:
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


def _spans(codec: TextCodec, opening: Opening, said: Sequence[dict[str, Any]], whole: str) -> list[_Span]:
    """Of each turn of the assistant's.

    Raises:
        RecordError: the template writes what comes before a turn otherwise once it is there, or does not end
            a turn before what comes after it.
    """
    stops = codec.tokenizer.convert_ids_to_tokens(sorted(codec.stops))
    spans: list[_Span] = []
    at = 0
    for place, message in enumerate(said):
        if message["role"] != "assistant":
            continue
        if any(stop in message["content"] for stop in stops):
            raise RecordError("a turn beside tools spells a token that ends turns")
        start = _start(codec, opening, said, place, whole)
        ends = sorted((end, stop) for stop in stops if (end := whole.find(stop, start)) >= 0)
        if start < at or not ends or ends[0][0] >= _next_words(opening, said, place, whole):
            raise RecordError(
                f"the chat template ends message {place + 1} of the completion with none of {stops}, at "
                "which its model stops: eos_token_id of generation_config.json names further ones"
            )
        spans.append(_Span(start, *ends[0]))
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
            before = _up_to_words(opening, said, place)
    if not whole.startswith(before):
        raise RecordError(
            f"the chat template writes what stands before message {place + 1} of the completion "
            "otherwise once that is there; where it adds thinking, text.lead: drawn may help"
        )
    return len(before)


def _up_to_words(opening: Opening, said: Sequence[dict[str, Any]], place: int) -> str:
    """The conversation up to the content of a message.

    Raises:
        RecordError: the template does not write it.
    """
    marked = {**said[place], "content": SENTINEL + said[place]["content"]}
    every = [*(opening.messages or ()), *said[:place], marked, *said[place + 1 :]]
    before, found, _ = opening.template.render(every).partition(SENTINEL)
    if not found:
        raise RecordError(
            f"the chat template does not write the content of message {place + 1} of a completion"
        )
    return before


def _next_words(opening: Opening, said: Sequence[dict[str, Any]], place: int, whole: str) -> int:
    """Where in the conversation stands what a tool said after a turn; its end where none did.

    Raises:
        RecordError: the template does not write what the tool said.
    """
    if place + 1 == len(said) or said[place + 1]["role"] == "assistant":
        return len(whole)
    return len(_up_to_words(opening, said, place + 1))


def _check_words(said: Sequence[Message], written: Sequence[str], notes: list[str]) -> None:
    """Hold what a template wrote of an assistant's messages against what they hold.

    Raises:
        RecordError: calls, the words beside them or what was thought are not there.
    """
    turns = [(n, message) for n, message in enumerate(said, 1) if message["role"] == "assistant"]
    for (number, message), text in zip(turns, written, strict=True):
        words = message["content"]
        for marker in CLOSES_THINKING:
            words = words.rpartition(marker)[2]
        words = words.strip()
        if CALLS in message:
            check_written(message, words, text, number)
        elif words not in text:
            notes.append("changed_by_template")
        for name in THOUGHTS:
            if message.get(name, "").strip() not in text:
                raise RecordError(
                    f"the chat template writes nothing of {name!r} in message {number} of the completion: "
                    "set text.thinking to strip"
                )


def _check_marks(
    opening: Opening, said: Sequence[dict[str, Any]], whole: str, spans: Sequence[_Span]
) -> None:
    """Hold the spans against what the template itself marks as generated, where it does.

    Its marks may leave out the token that ends a turn, and white space and what stands before the words.

    Raises:
        RecordError: they are others.
    """
    marks = opening.template.generated([*(opening.messages or ()), *said])
    if marks is None:
        return
    marks = [(start, end) for start, end in marks if end > len(opening.before)]
    fits = len(marks) == len(spans) and all(
        not _words(whole, start, span.start) and _words(whole, end, span.end) in ("", span.stop)
        for (start, end), span in zip(marks, spans, strict=False)
    )
    if not fits:
        turns = [(span.start, span.end) for span in spans]
        raise RecordError(
            f"the chat template marks characters {marks} as generated, and its turns stand at {turns}: "
            "one of the two is wrong, and tokens of a tool could be trained on"
        )


def _words(text: str, one: int, other: int) -> str:
    return text[min(one, other) : max(one, other)].strip()
