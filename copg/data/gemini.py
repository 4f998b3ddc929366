"""What Gemini is asked and answers, in the words of other chats."""

from typing import Any

SYSTEM = ("systemInstruction", "system_instruction")
"""Where words of the system stand beside ``contents``."""
_DECLARED = ("functionDeclarations", "function_declarations")


def as_choices(answered: Any) -> Any:
    """A reply with candidates as one with choices; any other as it is."""
    given = answered.get("candidates") if type(answered) is dict else None
    if type(given) is not list or not all(type(each) is dict for each in given):
        return answered
    if not given or not all(type(each.get("content")) is dict for each in given):
        return answered
    choices = [
        {
            "message": {"role": "model", **each["content"]},
            "finish_reason": each.get("finishReason", each.get("finish_reason")),
        }
        for each in given
    ]
    return {"choices": choices}


def declared_by(tool: Any) -> list[Any] | None:
    """The functions that one of Gemini's tools declares, as chat templates take them, the types of their
    parameters in lower case; None of any other tool.
    """
    name = next((n for n in _DECLARED if type(tool) is dict and type(tool.get(n)) is list), None)
    return None if name is None else [{"type": "function", "function": _lower(each)} for each in tool[name]]


def _lower(schema: Any) -> Any:
    if type(schema) is list:
        return [_lower(item) for item in schema]
    if type(schema) is not dict:
        return schema
    return {
        name: value.lower() if name == "type" and type(value) is str else _lower(value)
        for name, value in schema.items()
    }
