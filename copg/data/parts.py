"""Messages whose content stands in parts: calls of tools, what came of them, thinking beside the words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from copg.data.message_keys import WORDS

_RESULTS = ("tool_result", "tool_call_response")
_CALLS_OF_GEMINI = ("functionCall", "function_call")
_RESULTS_OF_GEMINI = ("functionResponse", "function_response")
_WHERE = ("content", "parts")
"""Under which key the parts stand."""


def one_each(items: Sequence[Any]) -> list[Any]:
    """Messages, of which one that holds several results of tools is one for each, and one for its words.

    Args:
        items: as they stand in a log, of any kind.
    """
    return [one for item in items for one in _apart(item)]


def _apart(item: Any) -> Iterator[Any]:
    name = next((each for each in _WHERE if type(item.get(each)) is list), "") if type(item) is dict else ""
    parts = item[name] if name else []
    results = [part for part in parts if _kind(part) in _RESULTS]
    if not results or len(parts) == 1:
        yield item
        return
    for result in results:
        yield {**item, name: [result]}
    if words := [part for part in parts if _kind(part) not in _RESULTS]:
        yield {**item, name: words}


def _kind(part: Any) -> Any:
    return of_gemini(part).get("type") if type(part) is dict else None


def of_gemini(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of Gemini's as one that names its kind; any other as it is."""
    if part.get("type") is not None:
        return part
    for names, kind in ((_CALLS_OF_GEMINI, "tool_call"), (_RESULTS_OF_GEMINI, "tool_call_response")):
        held = next((part[name] for name in names if type(part.get(name)) is dict), None)
        if held is not None:
            said = {name: value for name, value in held.items() if value is not None}
            return {"arguments": said.pop("args", {}), **said, "type": kind}
    if type(part.get("text")) is str:
        return {"type": "reasoning" if part.get("thought") is True else "text", "content": part["text"]}
    return part


def read_parts(role: Any, parts: Sequence[Any]) -> dict[str, Any] | None:
    """A message whose parts hold calls of tools, their results or thinking, as those of OpenTelemetry, of
    Anthropic and of Gemini do.

    None where a part is of another kind, or all of them are words.
    """
    message: dict[str, Any] = {"role": role, "content": ""}
    for part in parts:
        held = of_gemini(part) if type(part) is dict else {}
        match held.get("type"):
            case "text" | "reasoning" as kind if type(held.get("content")) is str:
                name = "content" if kind == "text" else "reasoning_content"
                message[name] = message.get(name, "") + held["content"]
            case "text" | "thinking" as kind if type(held.get(kind)) is str:
                name = "content" if kind == "text" else "reasoning_content"
                message[name] = message.get(name, "") + held[kind]
            case "tool_use":
                function = {"name": held.get("name"), "arguments": held.get("input")}
                call = {"id": held.get("id"), "function": function}
                message["tool_calls"] = [*message.get("tool_calls", ()), call]
            case "tool_result" if len(parts) == 1:
                if (said := _result(held.get("content", ""))) is None:
                    return None
                message = {"role": "tool", "content": said, "tool_call_id": held.get("tool_use_id", "")}
            case "tool_call":
                function = {name: held[name] for name in ("name", "arguments") if name in held}
                call = ({"id": held["id"]} if "id" in held else {}) | {"function": function}
                message["tool_calls"] = [*message.get("tool_calls", ()), call]
            case "tool_call_response" if len(parts) == 1:
                said = held.get("response", held.get("result"))
                content = said if type(said) is str else json.dumps(said, ensure_ascii=False)
                message = {"role": "tool", "content": content}
                message |= {"tool_call_id": held["id"]} if "id" in held else {}
                message |= {"name": held["name"]} if "name" in held else {}
            case _:
                return None
    return message if len(message) > len(WORDS) or message["role"] == "tool" else None


def _result(said: Any) -> str | None:
    """The text of a result of Anthropic's, which may stand in parts; None where some are no text."""
    if type(said) is list and all(type(part) is dict and type(part.get("text")) is str for part in said):
        return "".join(part["text"] for part in said)
    return said if type(said) is str else None
