"""The shapes that need no mapping as their columns are called what they are: prompt, completions, rewards."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from copg.data.answers import by_rank
from copg.data.found import Found
from copg.data.json_lines import Defect, kind_of, parse_json
from copg.data.marks import as_number, read_thumb
from copg.data.messages import read_end, read_messages
from copg.data.turns import Messages, as_completion, begin_of_turn, is_turn
from copg.data.unfolding import as_object
from copg.records import Prompt, as_chat

Fields = Mapping[str, Any]

SHAPES = {
    "completions": ("completions", "rewards", "finished"),
    "chosen": ("chosen", "rejected", "chosen_reward", "rejected_reward", "finished"),
    "completion": ("completion", "reward", "finished"),
}
"""The field that tells a shape, and all fields that belong to it beside ``prompt``."""
SAYS = {
    "completions": "groups of completions",
    "chosen": "pairs with their prompt",
    "completion": "one completion a record",
}
MARKS = ("cluster", "ranks")
"""Fields that any record may have, which stay among its other columns as well."""
FIELDS = ("prompt", *dict.fromkeys(field for fields in SHAPES.values() for field in fields), *MARKS)
LIST_FIELDS = ("completions", "rewards", "finished", "ranks")
TEXT_FIELDS = ("prompt", "completion", "chosen", "rejected")


@cache
def shape_of(fields: tuple[str, ...]) -> str:
    """The one shape whose fields are there, or else what is wrong."""
    shapes = [shape for shape in SHAPES if shape in fields]
    if "prompt" not in fields:
        return "no prompt"
    if len(shapes) != 1:
        return "several shapes" if shapes else "no shape"
    if not set(fields) <= {"prompt", *SHAPES[shapes[0]], *MARKS}:
        return f"not of {shapes[0]}"
    return "no rejected" if shapes == ["chosen"] and "rejected" not in fields else shapes[0]


def read_plain(shape: str, fields: Fields) -> Found:
    """What fields of one shape hold.

    Raises:
        Defect: ``wrong_type``, for lists that are none.
    """
    return _READERS[shape](fields)


def _read_group(fields: Fields) -> Found:
    for field in ("completions", "rewards"):
        if type(fields.get(field, [])) is not list:
            raise Defect("wrong_type", f"{field!r} is {kind_of(fields[field])}, not a list")
    found = Found(fields["prompt"], fields["completions"], fields.get("rewards"), fields.get("finished"))
    ranks = fields.get("ranks")
    if type(ranks) is list and found.rewards is None and found.finished is None:
        found.marks = ("ranks",)
        return by_rank(found, ranks)
    return found


def _read_pair(fields: Fields) -> Found:
    given = [fields.get("chosen_reward"), fields.get("rejected_reward")]
    rewards = [1.0, 0.0] if given == [None, None] else given
    return Found(fields["prompt"], [fields["chosen"], fields["rejected"]], rewards, fields.get("finished"))


def _read_single(fields: Fields) -> Found:
    rewards = [fields["reward"]] if "reward" in fields else None
    finished = [fields["finished"]] if "finished" in fields else None
    return Found(fields["prompt"], [fields["completion"]], rewards, finished)


_READERS: dict[str, Callable[[Fields], Found]] = {
    "completions": _read_group,
    "chosen": _read_pair,
    "completion": _read_single,
}


def read_prompt(value: Any, dropped: set[str]) -> Prompt:
    """A prompt of text or chat messages.

    Args:
        dropped: gets the keys of messages that nothing reads.

    Raises:
        Defect: ``wrong_type``, for anything else.
    """
    if type(value) is str:
        return value
    if type(value) is list:
        return read_messages(value, "prompt", dropped)
    raise Defect("wrong_type", f"'prompt' is {kind_of(value)}, not text or chat messages")


def read_chats(
    prompt: Prompt, texts: Sequence[Any], dropped: set[str]
) -> tuple[Prompt, list[str | Messages]]:
    """Prompt and completion texts where some completions are chats.

    A text prompt that the chats repeat as their user's message becomes that message, with what all of them
    have before and after it: words of the system, earlier turns.

    Args:
        dropped: gets the keys of messages that nothing reads.

    Raises:
        Defect: ``wrong_type``, for a completion that is neither text nor such a chat.
    """
    texts = [[value] if type(value) is dict else value for value in texts]
    if isinstance(prompt, str):
        prompt = _beginning(prompt, texts, dropped)
    chat = as_chat(prompt)
    plain: list[str | Messages] = []
    for number, value in enumerate(texts, 1):
        if type(value) is str:
            plain.append(value)
            continue
        where = "the completion" if len(texts) == 1 else f"completion {number}"
        if type(value) is not list:
            raise Defect("wrong_type", f"{where} is {kind_of(value)}, not text or chat messages")
        turn = read_end(value, where, dropped)
        if turn[: len(chat)] == chat and len(turn) > len(chat):
            prompt, turn = chat, turn[len(chat) :]
        if not is_turn(turn):
            raise Defect(
                "wrong_type",
                f"{where} must be the prompt's messages, or none, and one of 'assistant', "
                "with calls of tools and results before it if any",
            )
        plain.append(as_completion(turn))
    return prompt, plain


def _beginning(prompt: str, texts: Sequence[Any], dropped: set[str]) -> Prompt:
    """What whole chats have in common before their last turns, where the prompt is a message of it, or blank;
    else the prompt.
    """
    if not all(type(value) is list for value in texts):
        return prompt
    turns = [read_messages(value, "a completion", dropped) for value in texts]
    before = [turn[: begin_of_turn(turn)] for turn in turns]
    said = [message["content"] for message in before[0] if message["role"] != "assistant"]
    alike = all(each == before[0] for each in before)
    return before[0] if alike and said and (prompt in said or not prompt.strip()) else prompt


def as_numbers(fields: Fields, *, named: bool) -> dict[str, Any]:
    """Of the fields, single rewards that are spelled as text, and thumbs of a list, as numbers.

    Args:
        named: whether the user said which list the rewards are: theirs may be thumbs.
    """
    found: dict[str, Any] = {
        field: as_number(value)
        for field, value in fields.items()
        if field.endswith("reward") and type(value) is str
    }
    thumbs = fields.get("rewards")
    if named and type(thumbs) is list and set(map(type, thumbs)) == {bool}:
        found["rewards"] = [float(thumb) for thumb in thumbs]
    return found


def mapped_rewards(found: Found, fields: Fields) -> list[Any] | None:
    """Rewards that the user's own columns name go before those of the shape."""
    count = len(found.completions)
    pair = [fields.get("chosen_reward"), fields.get("rejected_reward")]
    if count == 1 and "reward" in fields:
        reward = fields["reward"]
        thumb = read_thumb(reward) if type(reward) in (bool, str) else None
        return [reward if thumb is None else thumb]
    if count == 2 and found.rewards == [1.0, 0.0] and pair != [None, None]:
        return pair
    return fields.get("rewards") if found.rewards is None and count > 1 else found.rewards


def read_reward(value: Any) -> float | None:
    """A number; too large a one is infinite.

    Raises:
        Defect: ``wrong_type``, for anything else.
    """
    if value is None or type(value) is float:
        return value
    if type(value) is not int:
        raise Defect("wrong_type", f"a reward is {kind_of(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def read_flags(value: Any, count: int) -> list[bool]:
    """Whether each completion was finished.

    Raises:
        Defect: ``wrong_type``, for anything but ``count`` booleans.
    """
    if type(value) is not list or any(type(flag) is not bool for flag in value):
        raise Defect("wrong_type", "'finished' is not true or false for each completion")
    if len(value) != count:
        raise Defect("wrong_type", f"'finished' has {len(value)} values for {count} completions")
    return value


def read_cell(field: str, cell: str) -> Any:
    """The value of a cell of text; prompts and single completions stay text.

    Raises:
        Defect: ``invalid_json`` or ``wrong_type``, for a list or a number that is none.
    """
    if field in LIST_FIELDS:
        try:
            return parse_json(cell.encode())
        except Defect as defect:
            raise Defect(defect.reason, f"cell {field!r} is not JSON: {defect.detail}") from None
    if field.endswith("reward"):
        if (thumb := read_thumb(cell)) is not None and cell not in ("+1", "-1"):
            return thumb
        if type(number := as_number(cell)) is str:
            raise Defect("wrong_type", f"{field!r} is {cell!r}, not a number")
        return number
    return cell


def pick_path(row: Mapping[str, Any], name: str) -> Any:
    """The value under a name, or a path ``a.b`` where no such name is there, also through JSON in texts."""
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for key in name.split("."):
        value = as_object(value)
        if isinstance(value, list):
            value = [item.get(key) if isinstance(item, dict) else None for item in value]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value
