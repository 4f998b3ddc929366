"""Chats and objects that stand in a table, or in a record, as the text that spells them."""

import re
from typing import Any

from copg.data.json_lines import Defect, parse_json, spelled

_STRUCTURED = (
    "input",
    "prompt",
    "chosen",
    "rejected",
    "answers",
    "trace",
    "request",
    "response",
)
CHATS = (
    "messages",
    "conversation",
    "conversations",
    "contents",
    "rejected_messages",
    "preferred_output",
    "non_preferred_output",
)
"""Columns of public shapes that hold chats."""
_CHAT = re.compile(r"""\s*\[\s*\{\s*(["'])(?:role|content|from|value|tool_calls)\1\s*:""")
_SPEAKS = {"role", "from"}
_OBJECTS = re.compile(r'\s*(?:\[\s*)?\{\s*"')


def unfold_chat(column: str, value: Any) -> Any:
    """Of a text that spells the messages of a chat in JSON, those; any other value as it is.

    Raises:
        Defect: ``wrong_type``, for a text that spells them as Python prints a list.
    """
    if type(value) is not str or (begin := _CHAT.match(value)) is None:
        return value
    if begin[1] == "'":
        raise Defect("wrong_type", f"{column!r} holds messages as Python prints them; write them as JSON")
    try:
        messages = parse_json(value.encode())
    except Defect:
        return value
    return messages if all(type(each) is dict and _SPEAKS & each.keys() for each in messages) else value


def as_object(value: Any) -> Any:
    """Of a text that spells an object, or a list of them, those; any other value as it is."""
    return spelled(value) if type(value) is str and _OBJECTS.match(value) else value


def unfold(column: str, value: Any) -> Any:
    """Of a cell in which objects may stand, those that it spells; any other cell as it is."""
    if column in _STRUCTURED and type(value) is str and _OBJECTS.match(value):
        found = spelled(value)
        return value if column == "input" and "messages" not in found else found
    return value
