"""Chats as logs hold them, and where in a chat its completion begins."""

import re
from collections.abc import Container, Mapping
from typing import Any

from copg.data.found import Found
from copg.data.json_lines import Defect, kind_of
from copg.data.langchain import of_langchain
from copg.data.message_keys import WORDS, refuse_unlearnt, take_weight
from copg.data.parts import of_gemini, one_each, read_parts
from copg.data.turns import (
    Messages,
    as_completion,
    begin_of_turn,
    call_of,
    is_turn,
    read_more,
)

_ROLES = {
    **{name: name for name in ("system", "developer", "user", "assistant", "tool", "function")},
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "observation": "tool",
}
"""Names of who speaks, as ShareGPT and others have them, in any case."""
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_PLACES = re.compile(r"\n\n(Human|Assistant):")


def read_messages(value: Any, where: str, dropped: set[str]) -> Messages:
    """Messages with a role and a text, from ``role`` and ``content`` or ``from`` and ``value``.

    Content in parts, as ``{"type": "text", "text": ...}``, is the text of all of them. An assistant's message
    may hold calls of tools and thinking beside its words, a tool's the call that it answers.

    Args:
        where: what is said of it in errors.
        dropped: gets the names of what messages hold beside that.

    Raises:
        Defect: ``wrong_type``, for a message without words, or that would mean something else without the
            rest.
    """
    if type(value) is not list:
        raise Defect("wrong_type", f"{where} is {kind_of(value)}, not chat messages")
    messages = [_read_message(item, where, dropped) for item in one_each(value)]
    if not messages:
        raise Defect("wrong_type", f"{where} holds no message")
    return messages


def read_end(value: Any, where: str, dropped: set[str]) -> Messages:
    """Messages whose last one is a completion, or a part of it.

    Raises:
        Defect: ``wrong_type``, as ``read_messages``, and for a completion that is not learnt from.
    """
    refuse_unlearnt(value, where)
    return read_messages(value, where, dropped)


def _read_message(item: Any, where: str, dropped: set[str]) -> dict[str, str]:
    item = (of_langchain(item) or item) if type(item) is dict and "type" in item else item
    held = {key: v for key, v in item.items() if v is not None and v != []} if type(item) is dict else {}
    if len(held) > len(WORDS):
        take_weight(held, where)  # of completions it was looked at before
    if "from" in held and "value" in held and "role" not in held:
        role, said = held.pop("from"), held.pop("value")
        if role == "function_call" and type(said) is str:
            return read_more(held | call_of(said, where), where, dropped)
        held |= {"role": role, "content": said}
    if type(role := held.get("role")) is str:
        held["role"] = _ROLES.get(role.lower(), role)
    if "parts" in held and "content" not in held:
        held.setdefault("role", "user")
        parts, _ = held.pop("parts"), held.pop("finish_reason", None)
        if type(parts) is list and (whole := read_parts(held.get("role"), parts)):
            return read_more(held | whole, where, dropped)
        held["content"] = [*map(of_gemini, parts)] if is_chat(parts) else parts
    if type(parts := held.get("content")) is list:
        if (text := join_parts(parts)) is not None:
            held["content"] = text
        elif whole := read_parts(held.get("role"), parts):
            held |= whole
    if set(held) == WORDS and type(held["role"]) is type(held["content"]) is str:
        return {"role": held["role"], "content": held["content"]}
    return read_more(held, where, dropped)


def join_parts(parts: list[Any]) -> str | None:
    """The text of all parts; None where one is no text."""
    texts = []
    for part in parts:
        held = part if type(part) is dict else {"text": part}
        kind = "text" if held.keys() == {"text"} else held.get("type")
        text = held.get("refusal") if kind == "refusal" else held.get("text", held.get("content"))
        if kind not in _TEXT_PARTS or type(text) is not str:
            return None
        texts.append(text)
    return "".join(texts)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of objects, as the messages of a chat are."""
    return type(value) is list and bool(value) and all(type(item) is dict for item in value)


def is_transcript(value: Any) -> bool:
    """Whether a text is a conversation of ``Human:`` and ``Assistant:``, as in HH."""
    return type(value) is str and value.startswith("\n\nHuman:") and "\n\nAssistant:" in value


def read_transcript(text: str) -> Messages:
    """The messages of such a text; the space after each colon is no part of them."""
    _, *pieces = _PLACES.split(text)
    sides = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": sides[side], "content": words.removeprefix(" ")}
        for side, words in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def split_chat(messages: Messages, *, all_turns: bool, unlearnt: Container[int] = ()) -> list[Found]:
    """A chat as a prompt and its last assistant turn, or as one such for every assistant turn.

    A chat that ends with its user is a prompt without a completion.

    Args:
        unlearnt: places of messages that say that nothing is to be learnt from them.

    Raises:
        Defect: ``wrong_type``, where an assistant's turn has nothing before it, or none is learnt from.
    """
    ends = [n for n, message in enumerate(messages, 1) if message["role"] == "assistant"]
    ends = [n for n in ends if n == len(messages) or (all_turns and messages[n]["role"] != "tool")]
    if (last := messages[-1]["role"]) not in _ROLES.values():
        who = "neither who is answered, as 'user', nor who answers, as 'assistant'"
        raise Defect("wrong_type", f"the last message of the chat is of role={last!r}: {who}")
    spans = [(begin_of_turn(messages[:end]), end) for end in ends]
    if spans == [(0, 1)] or (len(spans) == 1 and not spans[0][0]):
        raise Defect("wrong_type", "the chat is one message of 'assistant', without a prompt before it")
    if not spans:
        return [Found(messages, [])]
    spans = [(start, end) for start, end in spans if start and _is_learnt(messages, start, end, unlearnt)]
    if not spans:
        hint = "" if all_turns else "; completion: all_turns reads those before it"
        raise Defect("wrong_type", f"the turn that would be read is of weight 0, not learnt from{hint}")
    root = messages[: spans[0][0]] if all_turns else None
    return [Found(messages[:start], [as_completion(messages[start:end])], root=root) for start, end in spans]


def _is_learnt(messages: Messages, start: int, end: int, unlearnt: Container[int]) -> bool:
    said = {n not in unlearnt for n in range(start, end) if messages[n]["role"] == "assistant"}
    if len(said) > 1:
        where = f"messages {start + 1} to {end} are one turn"
        raise Defect("wrong_type", f"{where}, and some of them are of weight 0, not learnt from")
    return said == {True}


def split_pair(chosen: Messages, rejected: Messages) -> Found:
    """Two whole chats as their common beginning and the one turn in which each goes on.

    Raises:
        Defect: ``wrong_type``, where they part earlier than in their last turn.
    """
    same = 0
    while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
        same += 1
    parted = same
    while same and (chosen[same - 1]["role"] == "tool" or "tool_calls" in chosen[same - 1]):
        same -= 1  # what they share of a turn with tools was said by the assistant all the same
    ends = chosen[same:], rejected[same:]
    if not all(is_turn(end) for end in ends):
        where = f"part at message {parted + 1} of {len(chosen)} and {len(rejected)}"
        why = "a completion is one message of 'assistant', with calls of tools and results before it if any"
        raise Defect("wrong_type", f"the two chats {where}: {why}")
    if not same:
        raise Defect("wrong_type", "the two chats have no message in common that could be their prompt")
    return Found(chosen[:same], [as_completion(end) for end in ends], rewards=[1.0, 0.0])


def split_texts(chosen: str, rejected: str) -> Found:
    """Two whole texts as their common beginning, up to a white space, and how each goes on."""
    pairs = zip(chosen, rejected, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(chosen), len(rejected)))
    same = next((n for n in range(same - 1, -1, -1) if chosen[n].isspace()), 0)
    return Found(chosen[:same], [chosen[same:], rejected[same:]], rewards=[1.0, 0.0])


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A column's text; "" where it is not there.

    Raises:
        Defect: ``wrong_type``, where it is something else.
    """
    value = row.get(name, "")
    if type(value) is not str:
        raise Defect("wrong_type", f"{name!r} is {kind_of(value)}, not text")
    return value
