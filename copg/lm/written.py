"""What a chat template wrote of turns, held against what they hold: nothing is left out without a word."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copg.errors import RecordError
from copg.lm.calls import CALLS
from copg.lm.template import CLOSES_THINKING, Opening

Message = Mapping[str, Any]
THOUGHTS = ("reasoning_content", "thinking")
"""Where a message holds what was thought beside its words."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where in the conversation a turn stands."""

    start: int
    end: int
    stop: str
    """The token that ends it."""


def texts_of(message: Message) -> Iterator[str]:
    """All of a message that a template may write: words, thinking, and calls as JSON."""
    yield message["content"]
    yield from (message[name] for name in THOUGHTS if name in message)
    yield from (json.dumps(call["function"], ensure_ascii=False) for call in message.get(CALLS, ()))


def unwritten(number: int) -> str:
    """The line for words that are not there.

    Args:
        number: of their message in its completion, from 1.
    """
    return f"the chat template does not write the content of message {number} of a completion"


def check_words(said: Sequence[Message], written: Sequence[str], notes: list[str]) -> None:
    """Hold what a template wrote of an assistant's messages against what they hold.

    Args:
        said: messages of a completion.
        written: of each message of the assistant's.
        notes: gets what became of plain words.

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
            _check_calls(message, words, text, number)
        elif words not in text:
            notes.append("changed_by_template")
        for name in THOUGHTS:
            if message.get(name, "").strip() not in text:
                raise RecordError(
                    f"the chat template writes nothing of {name!r} in message {number} of the completion: "
                    "set text.thinking to strip"
                )


def _check_calls(message: Message, words: str, written: str, number: int) -> None:
    if words not in written:
        raise RecordError(
            f"the chat template writes the calls of message {number} of the completion without its words "
            f"{words!r:.60}: its model cannot draw both; leave the words out of the record"
        )
    rest = written.replace(words, "", 1)
    for place, call in enumerate(message[CALLS]):
        if call["function"]["name"] not in rest:
            raise _lost_call(message, place, number)


def check_parts(opening: Opening, said: Sequence[Message]) -> None:
    """Hold that a template writes every call and every result: the conversation is rendered with others.

    Two calls of one tool, or two results, may say the same; what stands in their place here is each its own.

    Args:
        opening: of the prompt.
        said: messages of a completion.

    Raises:
        RecordError: one is not there.
    """
    parts: dict[str, RecordError] = {}
    marked: list[dict[str, Any]] = []
    for number, message in enumerate(said, 1):
        marked.append(dict(message))
        if message["role"] == "tool":
            marked[-1]["content"] = _mark(len(parts))
            parts[_mark(len(parts))] = RecordError(unwritten(number))
        calls = []
        for place, call in enumerate(message.get(CALLS, ())):
            calls.append({**call, "function": {**call["function"], "arguments": {"at": _mark(len(parts))}}})
            parts[_mark(len(parts))] = _lost_call(message, place, number)
        if calls:
            marked[-1][CALLS] = calls
    if not parts:
        return
    try:
        whole = opening.template.render([*(opening.messages or ()), *marked])
    except RecordError:  # it takes no others in their place
        return
    for part, error in parts.items():
        if part not in whole:
            raise error


def _mark(number: int) -> str:
    """A word that no record holds: letters alone, so that no template escapes them, and no other's start."""
    return f"Qzpart{''.join('abcdefghij'[int(digit)] for digit in str(number))}zq"


def _lost_call(message: Message, place: int, number: int) -> RecordError:
    beside = " beside what else the message holds" if message["content"] or place else ""
    name = message[CALLS][place]["function"]["name"]
    return RecordError(
        f"the chat template does not write call {place + 1} of message {number} of the completion, of "
        f"{name!r:.60}: its model cannot draw it{beside}"
    )


def check_marks(opening: Opening, said: Sequence[Message], whole: str, spans: Sequence[Span]) -> None:
    """Hold the spans against what the template itself marks as generated, where it does.

    Its marks may leave out the token that ends a turn, and may begin before it, with what the template writes
    to open an assistant's turn.

    Args:
        opening: of the prompt.
        said: messages of a completion.
        whole: the conversation as the template wrote it.
        spans: of each turn of the assistant's.

    Raises:
        RecordError: they are others.
    """
    asked = list(opening.messages or ())
    marks = opening.template.generated([*asked, *map(dict, said)])
    if marks is None:
        return
    marks = [(start, end) for start, end in marks if end > len(opening.before)]
    places = [place for place, message in enumerate(said) if message["role"] == "assistant"]
    earliest = [opening.template.render([*asked, *map(dict, said[:place])]) for place in places]
    fits = len(marks) == len(spans) and all(
        (_opens(whole, before, start, span.start) or not _words(whole, start, span.start))
        and _words(whole, end, span.end) in ("", span.stop)
        for (start, end), span, before in zip(marks, spans, earliest, strict=False)
    )
    if not fits:
        turns = [(span.start, span.end) for span in spans]
        raise RecordError(
            f"the chat template marks characters {marks} as generated, and its turns stand at {turns}: "
            "one of the two is wrong, and tokens of a tool could be trained on"
        )


def _opens(whole: str, before: str, start: int, span_start: int) -> bool:
    """Whether a mark begins where a turn is opened: after all that stood there before it."""
    return whole.startswith(before) and len(before) <= start <= span_start


def _words(text: str, one: int, other: int) -> str:
    return text[min(one, other) : max(one, other)].strip()
