"""What is said of a row that has no known shape: what was found, and the line that would map it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from copg.data.json_lines import Defect, listed
from copg.data.plain_shapes import MARKS, SAYS, SHAPES

_PROMPT = (
    "prompt",
    "question",
    "query",
    "instruction",
    "request",
    "input",
    "user",
    "context",
    "source",
    "text",
    "problem",
    "task",
    "post",
    "dialogue",
    "history",
)
_COMPLETION = (
    "completion",
    "answer",
    "response",
    "reply",
    "output",
    "assistant",
    "summary",
    "target",
    "text",
)
_LIKELY = {"prompt": _PROMPT, "completion": _COMPLETION}
"""Words in the names of columns, likely ones first."""
CHATS = {
    "messages": "messages",
    "conversation": "messages",
    "conversations": "sharegpt",
    "contents": "gemini",
}
"""Columns of whole chats, and the shapes that they are."""
_ANSWERS = (
    *("response", "answer", "output", "reply", "generation", "generated_text", "result", "model_output"),
    *("responses", "answers", "outputs", "replies", "generations", "samples", "candidates"),
)
MAX_AROUND = 3
"""Columns of an object that does no more than hold records."""
_ANSWER = re.compile(
    "answer|response|output|reply|completion|conversation|summary|generation|ref", re.IGNORECASE
)
MAX_LOOKED_AT = 500
"""Columns whose names and values are looked at."""
_ASIDE = re.compile(
    r"(^|[_.])(id|uuid|idx|index|key|time|timestamp|date|lang|language|model|hash|domain|category|type|split"
    r"|version|name|object|status|license|author|dataset)$"
)
_SIBLING = re.compile(r"^(.+?)[_.\-]?([0-9]|[abAB])$")
"""A name of which there are several: a stem, and a number or letter."""
_BETTER = re.compile("chosen|prefer|better|win|accept|good|best", re.IGNORECASE)
_WORSE = re.compile("reject|dispreferred|non_preferred|worse|los|bad|worst", re.IGNORECASE)
_REWARD = re.compile("reward|score|rating", re.IGNORECASE)


def misfit(
    problem: str, names: Mapping[str, str], fields: Mapping[str, Any], row: Mapping[str, Any]
) -> Defect:
    """Why a row has no plain shape.

    Args:
        problem: from ``shape_of``.
        names: the user's name of each field.
        fields: those that are there.
    """
    shapes = [shape for shape in SHAPES if shape in fields or problem == "no shape"]
    there = [names[shape] for shape in shapes]
    found = f"found {listed(row)}"
    match problem:
        case "no prompt" if names["prompt"] != "prompt":
            return Defect("missing_field", f"{names['prompt']!r} is missing, {found}")
        case "no prompt" | "no shape":
            what = "'prompt' is missing" if problem == "no prompt" else f"none of {there} is there"
            return Defect("missing_field", f"{what}, {found}; {_ways_out(problem, row)}")
        case "no rejected":
            return Defect("missing_field", f"{names['rejected']!r} is missing, {found}")
        case "several shapes":
            readings = " or ".join(f"{names[shape]!r} ({SAYS[shape]})" for shape in shapes)
            hint = f"leave one out, as in columns: {{{there[-1]}: ''}}"
            return Defect("ambiguous_shape", f"holds {there} at a time: can be read by {readings}; {hint}")
    shape = problem.removeprefix("not of ")
    allowed = sorted(names[field] for field in ("prompt", *SHAPES[shape]))
    return Defect("ambiguous_shape", f"a record with {there[0]!r} has no fields but {allowed}, {found}")


def _ways_out(problem: str, row: Mapping[str, Any]) -> str:
    """What to write into a recipe."""
    if {"parent_id", "role", "text"} <= row.keys():
        return "a row is one message: rows with a 'message_id', or whole trees, are read as trees"
    if several := _siblings(row):
        how = "write them as 'chosen' and 'rejected', or as 'completions' with 'rewards'"
        return f"{several} look like answers to one prompt, and no line can say which is better: {how}"
    records = next((name for name in row if _are_rows(row[name])), None) if len(row) <= MAX_AROUND else None
    ways = [] if records is None else [f"'jq .{records}' where {records!r} is a list of records"]
    if problem == "no shape" and _is_text(row.get("prompt")):
        ways.append("read_as: prompts where it is a prompt alone")
    if all(type(row.get(name)) is str for name in ("chosen", "rejected")):
        ways.append("read_as: text_pairs where both hold their prompt")
    chats = [name for name in CHATS if name in row and (name != "contents" or type(row[name]) is list)]
    ways += [f"read_as: {CHATS[name]} where {name!r} is all of it" for name in chats]
    return " or ".join([*ways, f"say which is which: {columns_line(row)}"])


def _siblings(row: Mapping[str, Any]) -> list[str]:
    """Columns that could be answers of two models: equal names but for a number or a letter."""
    stems: dict[str, list[str]] = {}
    for name in list(row)[:MAX_LOOKED_AT]:
        match = _SIBLING.match(name)
        if match and _is_text(row[name]) and not _ASIDE.search(match[1]):
            stems.setdefault(match[1], []).append(name)
    alike = [names for stem, names in stems.items() if len(names) > 1 and _ANSWER.search(stem)]
    return alike[0] if alike else []


def _are_rows(value: Any) -> bool:
    """Whether it could be a list of records, and is no chat."""
    return (
        type(value) is list
        and bool(value)
        and all(type(each) is dict and not {"role", "from"} & each.keys() for each in value[:MAX_LOOKED_AT])
        and all(len(each) > 1 for each in value[:MAX_LOOKED_AT])
    )


def unused_answers(row: Mapping[str, Any]) -> str:
    """What is said of texts beside a chat that could be its completions; "" where there are none."""
    for name in _ANSWERS[_ANSWERS.index("responses") :]:
        held: Any = row.get(name)
        if _is_texts(held) and len(held) > 1:
            how = f"columns: {{prompt: <column of the prompt>, completions: {name}}}"
            return f"the texts in {name!r} beside the chat are not used; to use them: {how}"
    return ""


def refuse_answers(column: str, row: Mapping[str, Any]) -> None:
    """Refuse a chat in which nobody answers, where a column beside it could be the answer.

    Raises:
        Defect: ``ambiguous_shape``, with both readings.
    """
    for name in _ANSWERS:
        if (value := row.get(name)) and type(value) in (str, list):
            readings = f"{column!r} as a prompt alone (read_as: {CHATS[column]}), or with its completion"
            field = "completion" if type(value) is str else "completions"
            hint = f"columns: {{prompt: {column}, {field}: {name}}}"
            raise Defect("ambiguous_shape", f"the row can be read with {readings} in {name!r}: {hint}")


def columns_line(row: Mapping[str, Any]) -> str:
    """The line of a recipe that maps columns to fields, as far as their names and values tell."""
    flat = _flat(row)
    flat = [(name, value) for name, value in flat if not name.lower().startswith("system")]
    texts, lists, numbers = ([n for n, v in flat if kind(v)] for kind in (_is_text, _is_texts, _is_number))
    better, worse = (_first(texts, pattern) for pattern in (_BETTER, _WORSE))
    line = {"prompt": _likely("prompt", [n for n in texts if n not in (better, worse)])}
    rest = [name for name in texts if name != line["prompt"]]
    if better and worse and better != worse:
        line |= {"chosen": better, "rejected": worse}
    elif lists and not _first(rest, re.compile("|".join(_COMPLETION[:6]))):
        line |= {"completions": lists[0]}
    else:
        line |= {"completion": _likely("completion", rest)}
        if reward := _first(numbers, _REWARD):
            line |= {"reward": reward}
    known = {field: name for field, name in line.items() if name != field}
    return f"columns: {{{', '.join(f'{field}: {name}' for field, name in known.items())}}}"


@contextmanager
def mapped(**columns: Any) -> Iterator[None]:
    """Around the reading of inputs and outputs: what is missing in them is told with the line that maps them.

    Args:
        columns: the column of the inputs and that of the outputs, by their names.

    Raises:
        Defect: what was raised within.
    """
    try:
        yield
    except Defect as defect:
        if defect.reason != "missing_field":
            raise
        names = ([name for name, held in _flat({each: columns[each]}) if _is_text(held)] for each in columns)
        parts = zip(_LIKELY, names, strict=True)
        line = ", ".join(f"{field}: {_likely(field, texts)}" for field, texts in parts)
        raise Defect(defect.reason, f"{defect.detail}; say which is which: columns: {{{line}}}") from None


def _flat(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Columns, and those of objects one level down by their paths."""
    flat = []
    for name, value in row.items():
        flat += [(f"{name}.{key}", v) for key, v in value.items()] if type(value) is dict else [(name, value)]
    return [(name, value) for name, value in flat[:MAX_LOOKED_AT] if name not in MARKS]


def _likely(field: str, names: Sequence[str]) -> str:
    """The name that fits a field best; a place to fill in where there is none."""
    for word in _LIKELY[field]:
        for name in names:
            if word in re.split(r"[^a-z]+", name.lower()):
                return name
    left = [name for name in names if not _ASIDE.search(name)]
    return left[0] if left else f"<column of the {field}>"


def _first(names: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    return next((name for name in names if pattern.search(name)), None)


def _is_text(value: Any) -> bool:
    return type(value) is str or (type(value) is list and bool(value) and all(type(v) is dict for v in value))


def _is_texts(value: Any) -> bool:
    return type(value) is list and bool(value) and all(type(v) is str for v in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float, bool)
