"""The accepted shapes of a record, and what each of them means; anything else is refused, never guessed.

A row is taken by the fields it holds, after the user's mapping of names; null counts as absent:

- ``prompt``, ``completions``, and ``rewards`` and ``finished`` if given, one each a completion;
- ``prompt``, ``chosen``, ``rejected``: rewards 1 and 0, unless ``chosen_reward`` and ``rejected_reward``
  are given; ``finished`` if given, of the chosen and of the rejected;
- ``prompt``, ``completion``, and ``reward`` and ``finished`` if given: one row a completion.

A prompt is text or chat messages. A completion is text, or a chat that ends in one assistant message and
holds nothing before it but the prompt's own messages.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from copg.data.json_lines import Defect, kind_of, parse_json, write_columns
from copg.records import Prompt

SHAPES = {
    "completions": ("completions", "rewards", "finished"),
    "chosen": ("chosen", "rejected", "chosen_reward", "rejected_reward", "finished"),
    "completion": ("completion", "reward", "finished"),
}
"""The field that tells a shape, and all fields that belong to it beside ``prompt``."""
FIELDS = ("prompt", *dict.fromkeys(field for fields in SHAPES.values() for field in fields))
LIST_FIELDS = ("completions", "rewards", "finished")
TEXT_FIELDS = ("prompt", "completion", "chosen", "rejected")


@dataclass(slots=True)
class Record:
    """A row once its shape is known; what it says may still be refused."""

    prompt: Prompt
    texts: list[str]
    rewards: list[float | None] | None
    """As many as were given, which need not be as many as there are completions."""
    finished: list[bool]
    columns: str
    """Everything else the row held, as JSON."""


class RecordReader:
    """Tells what rows mean.

    Args:
        columns: the user's name of each of ``FIELDS`` that is called otherwise, "" to leave it out;
            ``a.b`` reaches into objects, and through lists of objects item by item.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._names = {field: columns.get(field, field) for field in FIELDS}
        self._has_paths = any("." in name for name in self._names.values())
        self._used = {
            shape: frozenset(self._names[field] for field in ("prompt", *fields))
            for shape, fields in SHAPES.items()
        }

    def read(self, row: Any, *, cells: bool = False) -> Record:
        """What a row means.

        Args:
            cells: every value is text, as in CSV: lists are JSON, an empty cell is absent.

        Raises:
            Defect: what keeps the row from being a record.
        """
        if type(row) is not dict:
            raise Defect("not_an_object", f"a record is an object, not {kind_of(row)}")
        pick = _pick if self._has_paths else dict.get
        fields = {f: value for f, name in self._names.items() if (value := pick(row, name)) is not None}
        if cells:
            fields = {f: _read_cell(f, v) for f, v in fields.items() if v != "" or f in TEXT_FIELDS}
        shape = _shape_of(tuple(fields))
        if shape not in SHAPES:
            raise self._misfit(shape, fields, row)
        prompt = _read_prompt(fields["prompt"])
        texts, rewards, finished = _READERS[shape](fields)
        if set(map(type, texts)) != {str}:
            prompt, texts = _read_chats(prompt, texts, shape)
        if rewards is not None and set(map(type, rewards)) != {float}:
            rewards = [_reward(reward) for reward in rewards]
        flags = [True] * len(texts) if finished is None else _flags(finished, len(texts))
        used = self._used[shape]
        others = {name: value for name, value in row.items() if name not in used}
        return Record(prompt, texts, rewards, flags, write_columns(others))

    def _misfit(self, problem: str, fields: Mapping[str, Any], row: Mapping[str, Any]) -> Defect:
        names = [self._names[shape] for shape in SHAPES if shape in fields or problem == "no shape"]
        found = f"found {sorted(row)}"
        match problem:
            case "no prompt":
                return Defect("missing_field", f"{self._names['prompt']!r} is missing, {found}")
            case "no shape":
                return Defect("missing_field", f"none of {names} is there, {found}")
            case "no rejected":
                return Defect("missing_field", f"{self._names['rejected']!r} is missing, {found}")
            case "several shapes":
                hint = f"leave one out, as in columns: {{{names[-1]}: ''}}"
                return Defect("ambiguous_shape", f"holds {names} at a time; {hint}")
        allowed = sorted(self._used[problem.removeprefix("not of ")])
        return Defect("ambiguous_shape", f"a record with {names[0]!r} has no fields but {allowed}, {found}")


@cache
def _shape_of(fields: tuple[str, ...]) -> str:
    """The one shape whose fields are there, or else what is wrong."""
    shapes = [shape for shape in SHAPES if shape in fields]
    if "prompt" not in fields:
        return "no prompt"
    if len(shapes) != 1:
        return "several shapes" if shapes else "no shape"
    if not set(fields) <= {"prompt", *SHAPES[shapes[0]]}:
        return f"not of {shapes[0]}"
    return "no rejected" if shapes == ["chosen"] and "rejected" not in fields else shapes[0]


_Found = tuple[list[Any], list[Any] | None, Any]
"""Completions, rewards and finished flags as found."""


def _read_group(fields: Mapping[str, Any]) -> _Found:
    for field in ("completions", "rewards"):
        if type(fields.get(field, [])) is not list:
            raise Defect("wrong_type", f"{field!r} is {kind_of(fields[field])}, not a list")
    return fields["completions"], fields.get("rewards"), fields.get("finished")


def _read_pair(fields: Mapping[str, Any]) -> _Found:
    given = [fields.get("chosen_reward"), fields.get("rejected_reward")]
    rewards = [1.0, 0.0] if given == [None, None] else given
    return [fields["chosen"], fields["rejected"]], rewards, fields.get("finished")


def _read_single(fields: Mapping[str, Any]) -> _Found:
    rewards = [fields["reward"]] if "reward" in fields else None
    return [fields["completion"]], rewards, [fields["finished"]] if "finished" in fields else None


_READERS: dict[str, Callable[[Mapping[str, Any]], _Found]] = {
    "completions": _read_group,
    "chosen": _read_pair,
    "completion": _read_single,
}


def _read_prompt(value: Any) -> Prompt:
    if type(value) is str:
        return value
    if type(value) is list:
        return _read_messages(value, "prompt")
    raise Defect("wrong_type", f"'prompt' is {kind_of(value)}, not text or chat messages")


def _read_chats(prompt: Prompt, texts: list[Any], shape: str) -> tuple[Prompt, list[str]]:
    """Prompt and completion texts where some completions are chats.

    A text prompt that the chats repeat as their user's message becomes that message.
    """
    chat = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    plain: list[str] = []
    for number, value in enumerate(texts, 1):
        if type(value) is str:
            plain.append(value)
            continue
        where = "the completion" if shape == "completion" else f"completion {number}"
        if type(value) is not list:
            raise Defect("wrong_type", f"{where} is {kind_of(value)}, not text or chat messages")
        *before, last = _read_messages(value, where)
        if last["role"] != "assistant" or before not in ([], chat):
            raise Defect(
                "wrong_type", f"{where} must be the prompt's messages, or none, and one of 'assistant'"
            )
        prompt = chat if before else prompt
        plain.append(last["content"])
    return prompt, plain


def _read_messages(value: list[Any], where: str) -> list[dict[str, str]]:
    messages = []
    for item in value:
        held = {key: v for key, v in item.items() if v is not None} if type(item) is dict else {}
        if set(held) != {"role", "content"} or any(type(v) is not str for v in held.values()):
            raise Defect("wrong_type", f"a message of {where} is not a 'role' and a 'content' of text alone")
        messages.append({"role": held["role"], "content": held["content"]})
    if not messages:
        raise Defect("wrong_type", f"{where} holds no message")
    return messages


def _reward(value: Any) -> float | None:
    if value is None or type(value) is float:
        return value
    if type(value) is not int:
        raise Defect("wrong_type", f"a reward is {kind_of(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _flags(value: Any, count: int) -> list[bool]:
    if type(value) is not list or any(type(flag) is not bool for flag in value):
        raise Defect("wrong_type", "'finished' is not true or false for each completion")
    if len(value) != count:
        raise Defect("wrong_type", f"'finished' has {len(value)} values for {count} completions")
    return value


def _pick(row: Mapping[str, Any], name: str) -> Any:
    """The value under a name, or under a path ``a.b`` where no such name is there."""
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for key in name.split("."):
        if isinstance(value, list):
            value = [item.get(key) if isinstance(item, dict) else None for item in value]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _read_cell(field: str, cell: str) -> Any:
    """The value of a cell of text; prompts and single completions stay text."""
    if field in LIST_FIELDS:
        try:
            return parse_json(cell.encode())
        except Defect as defect:
            raise Defect(defect.reason, f"cell {field!r} is not JSON: {defect.detail}") from None
    if field.endswith("reward"):
        try:
            return float(cell.replace("_", "?"))
        except ValueError:
            raise Defect("wrong_type", f"{field!r} is {cell!r}, not a number") from None
    return cell
