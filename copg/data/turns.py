"""Turns with tools: messages that hold more than words, and an assistant's turn of several of them."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from copg.data.gemini import declared_by
from copg.data.json_lines import Defect, kind_of, listed, parse_json
from copg.data.message_keys import MORE, WORDS, left_out, refused_words
from copg.records import MESSAGES, TOOLS, TURNS, Prompt, as_chat

Messages = list[dict[str, Any]]


_GIVEN = ("arguments", "args", "parameters", "input")
"""What a call is given, by the names of those who write it."""
_SCHEMAS = ("input_schema", "parameters")
"""What a tool takes, by the names of Anthropic and of OpenAI."""


def read_more(held: dict[str, Any], where: str, dropped: set[str]) -> dict[str, Any]:
    """A message that holds more than a role and words.

    Args:
        dropped: gets the names of what it holds and nothing reads.
    """
    held = refused_words(_of_others(held))
    role = held.get("role")
    more = MORE.get(role, ()) if type(role) is str else ()
    others = left_out(held, (*WORDS, *more), where)
    known = {name: held[name] for name in held if name in WORDS or name in more}
    texts = all(type(value) is str for name, value in known.items() if name != "tool_calls")
    if type(role) is not str or not texts or len(known) < 2:
        allowed = f"a 'role' and a 'content' of text{', or ' + ', '.join(map(repr, more)) if more else ''}"
        raise Defect("wrong_type", f"a message of {where} is not {allowed}{_too_much(held, others)}")
    dropped.update(others)
    message = {"role": role, "content": known.get("content", "")}
    message |= {name: known[name] for name in more if name in known}
    if "tool_calls" in known:
        message["tool_calls"] = _read_calls(known["tool_calls"], where)
    return message


def _too_much(held: Mapping[str, Any], others: Sequence[str]) -> str:
    """What a message holds instead, in words."""
    if "content" not in held and others:
        return f": it holds {listed(others)}"
    if type(parts := held.get("content")) is list:
        kinds = {str(part.get("type")) if type(part) is dict else kind_of(part) for part in parts}
        return f": its 'content' has parts of {listed(kinds)}"
    return ""


def _of_others(held: dict[str, Any]) -> dict[str, Any]:
    """A message of OpenAI's older form, in which a function was called, as one of a tool; thinking under the
    name that OpenRouter and vLLM give it, as others do.
    """
    if held.get("role") == "function":
        return {**held, "role": "tool"}
    if held.get("role") == "assistant" and "reasoning" in held and "reasoning_content" not in held:
        held = {("reasoning_content" if name == "reasoning" else name): v for name, v in held.items()}
    if "function_call" in held and "tool_calls" not in held and held.get("role") == "assistant":
        rest = {name: value for name, value in held.items() if name != "function_call"}
        return {**rest, "tool_calls": [{"type": "function", "function": held["function_call"]}]}
    return held


def _read_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Calls of tools as chat templates take them: arguments as an object, which logs hold as JSON."""
    found = []
    for call in calls if type(calls) is list else [None]:
        held = dict(call) if type(call) is dict else {}
        function = held.get("function", held)
        if type(function) is not dict or type(function.get("name")) is not str:
            raise Defect("wrong_type", f"'tool_calls' of {where} has a call without the name of a function")
        arguments: Any = next((function[name] for name in _GIVEN if name in function), {})
        if type(arguments) is str:
            with suppress(Defect):
                arguments = parse_json((arguments or "{}").encode())
        whole = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
        found.append(({"id": held["id"]} if type(held.get("id")) is str else {}) | whole)
    return found


def call_of(text: str, where: str) -> dict[str, Any]:
    """An assistant's message out of the calls that a text spells in JSON, one or a list of them.

    Raises:
        Defect: it spells none.
    """
    try:
        calls = parse_json(text.encode())
    except Defect as defect:
        raise Defect(defect.reason, f"a call of a tool in {where} is not JSON: {defect.detail}") from None
    return {"role": "assistant", "content": "", "tool_calls": calls if type(calls) is list else [calls]}


def tools_of(asked: Any) -> dict[str, Any] | None:
    """The column of the tools that a call of a model was given; None where it was given none."""
    tools = asked.get(TOOLS) if type(asked) is dict else None
    return {TOOLS: as_functions(tools)} if type(tools) is list and tools else None


def as_functions(tools: list[Any]) -> list[Any]:
    """Tools in the form that chat templates take: of Gemini's declarations, of Anthropic's ``input_schema``,
    and of functions whose name stands beside their type, as in OpenAI's Responses; others as they are.
    """
    found: list[Any] = []
    for tool in tools:
        declared = declared_by(tool)
        found += [_as_function(tool)] if declared is None else declared
    return found


def _as_function(tool: Any) -> Any:
    if type(tool) is not dict or type(tool.get("name")) is not str or "function" in tool:
        return tool
    schema = next((name for name in _SCHEMAS if type(tool.get(name)) is dict), None)
    if schema is None or tool.get("type", "custom") not in ("custom", "function"):
        return tool
    told = {name: tool[name] for name in ("name", "description") if tool.get(name) is not None}
    return {"type": "function", "function": {**told, "parameters": tool[schema]}}


def more_than_words(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message holds something beside its role and its words."""
    return any(len(message) > len(WORDS) for message in messages)


def in_words(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The messages as role and words alone, thinking left out and calls of tools as JSON below the words."""
    return [
        {"role": message["role"], "content": "\n".join(filter(None, [message["content"], *_calls(message)]))}
        for message in messages
    ]


def _calls(message: Mapping[str, Any]) -> list[str]:
    return [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls", ())]


def begin_of_turn(messages: Sequence[Mapping[str, Any]]) -> int:
    """Where the last assistant's turn of a chat begins, which calls of tools and their results are part of.

    The length of the chat where no assistant's message ends it.
    """
    end = len(messages)
    if not messages or messages[-1]["role"] != "assistant":
        return end
    start = end - 1
    while start and (messages[start - 1]["role"] == "tool" or "tool_calls" in messages[start - 1]):
        start -= 1
    while messages[start]["role"] != "assistant":  # a result whose call is not there
        start += 1
    return start


def as_completion(turn: Messages) -> str | Messages:
    """A turn as its words where it is no more than one message of them, else as its messages."""
    return turn if len(turn) > 1 or more_than_words(turn) else str(turn[0]["content"])


def is_turn(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether messages are an assistant's turn: they begin and end with it, and tools answer in between."""
    roles = [message["role"] for message in messages]
    called = all(
        other == "tool" if role == "assistant" else other in ("tool", "assistant")
        for role, other in pairwise(roles)
    )
    answered = all("tool_calls" in message or message["role"] == "tool" for message in messages[:-1])
    ends = bool(roles) and roles[0] == roles[-1] == "assistant"
    return ends and called and answered and set(roles) <= {"assistant", "tool"}


def put_aside(
    prompt: Prompt,
    completions: Sequence[str | Messages],
    columns: dict[str, Any],
    own: list[dict[str, Any]] | None,
) -> tuple[Prompt, list[str], list[dict[str, Any]] | None]:
    """Prompt and completions as words, with the messages that hold more among the columns.

    Args:
        columns: of the record, which get the prompt's messages.
        own: of each completion alone, which get its turn.

    Returns:
        Prompt, texts, and ``own``.
    """
    turns = [each if isinstance(each, list) else None for each in completions]
    if any(turns):
        prompt = as_chat(prompt)
        own = [
            held if turn is None else {**held, TURNS: turn}
            for held, turn in zip(own or [{} for _ in turns], turns, strict=True)
        ]
    if not isinstance(prompt, str) and more_than_words(prompt):
        columns[MESSAGES] = prompt
        prompt = in_words(prompt)
    return prompt, [each if isinstance(each, str) else _said(each) for each in completions], own


def _said(turn: Messages) -> str:
    return "\n\n".join(each["content"] for each in in_words(turn) if each["role"] == "assistant")
