"""Words of the system that stand beside a prompt, and belong before it."""

from collections.abc import Mapping
from typing import Any

from copg.data.gemini import SYSTEM
from copg.data.json_lines import Defect, kind_of
from copg.data.messages import join_parts
from copg.records import Prompt, as_chat

_BESIDE = {"system": "messages", "instructions": "input", **dict.fromkeys(SYSTEM, "contents")}
"""Where they stand in a request of Anthropic's, OpenAI's and Gemini's, each beside what they are for."""


def system_words(held: Mapping[str, Any], name: str) -> str:
    """The words of the system under a name, which may be parts; "" where there are none.

    Raises:
        Defect: ``wrong_type``, for what are no words.
    """
    system = held.get(name) or ""
    if type(system) is dict and type(system.get("parts")) is list:
        system = system["parts"]
    said = join_parts(system) if type(system) is list else system
    if type(said) is not str:
        raise Defect("wrong_type", f"{name!r} is {kind_of(system)}, not text or parts of it")
    return said


def system_of(asked: Any) -> str | None:
    """The key of the inputs of a call under which words of the system stand beside the prompt, if any."""
    held = asked if type(asked) is dict else {}
    return next((name for name, prompt in _BESIDE.items() if held.get(name) and prompt in held), None)


def after_system(asked: Any, prompt: Prompt) -> Prompt:
    """The prompt of a call after the words of the system beside it, unless it begins with such words itself.

    Raises:
        Defect: ``wrong_type``, for what are no words.
    """
    name = system_of(asked)
    if name is None or (isinstance(prompt, list) and prompt[0]["role"] in ("system", "developer")):
        return prompt
    return [{"role": "system", "content": system_words(asked, name)}, *as_chat(prompt)]
