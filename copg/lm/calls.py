"""Calls of tools as a chat template takes them, found by rendering."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copg.errors import RecordError

CALLS = "tool_calls"
NAME, VALUE = "qznamezq", "Qzvaluezq"
"""Stand for a tool and for what it is given: letters alone, so that no template escapes them."""
_CALL = {"id": "qzcall000", "type": "function", "function": {"name": NAME, "arguments": {"at": VALUE}}}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "", CALLS: [_CALL]},
    {"role": "tool", "tool_call_id": "qzcall000", "name": NAME, "content": "There"},
    {"role": "assistant", "content": "There."},
]


@dataclass(frozen=True, slots=True)
class CallForm:
    """How messages with calls are handed to a template."""

    no_words: str | None = ""
    """The content of a message that is calls alone; ``transformers`` leaves out a null."""
    as_text: bool = False
    """Arguments as JSON text, not as an object."""

    def of(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message in this form."""
        if CALLS not in message:
            return dict(message)
        calls = [{**call, "function": self._function(call["function"])} for call in message[CALLS]]
        return {**message, "content": message["content"] or self.no_words, CALLS: calls}

    def _function(self, function: Mapping[str, Any]) -> dict[str, Any]:
        arguments = function["arguments"]
        if self.as_text and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        return {**function, "arguments": arguments}


FORMS = (CallForm(), CallForm(None), CallForm("", as_text=True), CallForm(None, as_text=True))
"""DeepSeek's templates take arguments as text alone; some templates write no call where content is there."""


def find_form(render: Callable[[Sequence[dict[str, Any]]], str]) -> CallForm | None:
    """The first form in which a template writes the name and the arguments of a call; None: in none.

    Where it refuses such messages in every form it is the first of all, for the record's own to be refused.
    """
    refused = 0
    for form in FORMS:
        try:
            written = render([form.of(message) for message in CHAT])
        except RecordError:
            refused += 1
            continue
        if NAME in written and VALUE in written:
            return form
    return FORMS[0] if refused == len(FORMS) else None
