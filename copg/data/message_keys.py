"""What a message holds beside its role and words: what is read, what forbids to read it, and the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

from copg.data.json_lines import Defect

WORDS = {"role", "content"}
MORE = {
    "assistant": ("tool_calls", "reasoning_content", "thinking"),
    "tool": ("tool_call_id", "name"),
}
"""What else chat templates read of a message, by its role."""
_MEANT = frozenset(
    (
        *("audio", "audios", "input_audio", "image", "images", "image_url", "video", "videos"),
        *("file", "files", "attachments", "tool_calls", "function_call", "prefix", "partial"),
        *("channel", "recipient", "refusal", "weight"),
    )
)
"""Keys without which a message would mean something else: more than text, calls that are no assistant's,
words that are to go on, or are for nobody's eyes.
"""
_AS_EVER = {"channel": "final", "recipient": "all"}
"""What some of them hold where they say nothing."""
_LEARNT = ("train", "training", "loss")
"""Keys that say, by true or false, whether an assistant's message is learnt from; as OpenAI's ``weight``."""


def left_out(held: Mapping[str, Any], known: Sequence[str], where: str) -> list[str]:
    """The keys of a message that nothing reads; those that hold nothing are not counted.

    Raises:
        Defect: ``wrong_type``, for one without which the message would mean something else.
    """
    names = [name for name in held if name not in known and not _is_nothing(held[name])]
    for name in names:
        if name in _MEANT and held[name] != _AS_EVER.get(name):
            why = f"{name!r}, without which it would mean something else"
            raise Defect("wrong_type", f"a message of {where} holds {why}")
    return [name for name in names if name not in _AS_EVER]


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (type(value) in (str, list, dict) and not value)


def refused_words(held: dict[str, Any]) -> dict[str, Any]:
    """A message of OpenAI's in which the model refused to answer: its words are those of ``refusal``."""
    said = held.get("refusal")
    if type(said) is not str or held.get("content"):
        return held
    return {name: value for name, value in held.items() if name != "refusal"} | {"content": said}


def take_weight(held: dict[str, Any], where: str) -> bool:
    """Whether a message is learnt from, by the keys that say it, which are taken off.

    Raises:
        Defect: ``wrong_type``, for a weight between yes and no.
    """
    weight = held.pop("weight", 1)
    if weight not in (0, 1):
        raise Defect("wrong_type", f"a message of {where} has weight={weight!r:.40}, neither 0 nor 1")
    said = [held.pop(name) for name in _LEARNT if type(held.get(name)) is bool]
    return bool(weight) and all(said)


def is_learnt(item: Any, where: str) -> bool:
    """Whether a message, as it stands, is learnt from."""
    return (
        take_weight({n: v for n, v in item.items() if v is not None}, where) if type(item) is dict else True
    )


def refuse_unlearnt(messages: Any, where: str) -> None:
    """Refuse a completion whose last message says that nothing is to be learnt from it.

    Raises:
        Defect: ``wrong_type``, where it does.
    """
    if type(messages) is list and messages and not is_learnt(messages[-1], where):
        raise Defect("wrong_type", f"{where} ends in a message that says it is not learnt from, as weight: 0")
