"""Messages as LangChain writes them, in each of its three ways, as those of a chat."""

from collections.abc import Mapping
from typing import Any

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}
_DESCRIBES = (
    *("type", "additional_kwargs", "response_metadata", "usage_metadata", "id", "example"),
    *("tool_calls", "invalid_tool_calls", "status", "artifact"),
)
"""What stands beside what was said, or is read here."""

_CUT = (
    *("length", "max_tokens", "content_filter", "model_context_window_exceeded"),
    *("safety", "recitation", "prohibited_content"),
)


def of_langchain(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """One message with a role, its words and its calls of tools; None where it is none of LangChain's.

    They are ``{"lc": 1, "type": "constructor", "id": [...], "kwargs": {...}}``,
    ``{"type": ..., "data": {...}}`` and ``{"type": ..., "content": ...}``.
    """
    kind, held = item.get("type"), item
    if kind == "constructor" and type(item.get("kwargs")) is dict and type(item.get("id")) is list:
        held, path = item["kwargs"], item["id"]
        kind = held.get("type", path[-1] if path else None)
    elif type(item.get("data")) is dict and item.keys() == {"type", "data"}:
        held = item["data"]
    elif "role" in item or "from" in item or "content" not in item:
        return None
    if type(kind) is not str:
        return None
    role = _ROLES.get(kind.removesuffix("Chunk").removesuffix("Message").lower())
    role = held.get("role") if kind in ("chat", "ChatMessage") else role
    if role is None:
        return None
    more = held.get("additional_kwargs")
    more = {n: v for n, v in more.items() if v not in (None, "", [], {})} if type(more) is dict else {}
    calls = [_call(each) for name in ("tool_calls", "invalid_tool_calls") for each in held.get(name) or ()]
    if calls:
        more = {name: value for name, value in more.items() if name not in ("tool_calls", "function_call")}
    rest = {name: value for name, value in held.items() if name not in _DESCRIBES}
    return {**more, **rest, "role": role} | ({"tool_calls": calls} if calls else {})


def _call(held: Any) -> Any:
    """A call as OpenAI writes it."""
    if type(held) is not dict or "function" in held:
        return held
    return {"id": held.get("id"), "function": {"name": held.get("name"), "arguments": held.get("args")}}


def was_cut(held: Any) -> bool:
    """Whether a generation, a choice, a message or a reply says that it was cut off."""
    if type(held) is not dict:
        return False
    if held.get("status") == "incomplete":
        return True
    inner = (held.get(name) for name in ("generation_info", "response_metadata", "kwargs", "message", "data"))
    said = next((held[n] for n in ("finish_reason", "stop_reason", "done_reason") if held.get(n)), None)
    return (type(said) is str and said.lower() in _CUT) or any(map(was_cut, inner))
