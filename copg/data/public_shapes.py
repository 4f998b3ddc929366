"""The shapes in which logs and data sets are published, each known by the columns it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from copg.data.answers import LISTS, PROMPTS, are_answers, is_tree, read_answers, read_tree
from copg.data.found import Found, Wish
from copg.data.json_lines import Defect
from copg.data.messages import (
    is_chat,
    is_transcript,
    read_messages,
    read_transcript,
    split_chat,
    split_pair,
    split_texts,
    text_of,
)
from copg.data.misfits import CHATS, refuse_answers
from copg.data.traces import read_mlflow, read_spans
from copg.data.turns import tools_of

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of rows."""

    name: str
    """As in ``read_as``."""
    says: str
    """What a row is, in words."""
    takes: tuple[str, ...]
    """Columns that make the record; all others stay with it."""
    fits: Callable[[Row], bool]
    read: Callable[[Row, Wish], list[Found]]


def _read_chat(column: str, row: Row, wish: Wish) -> list[Found]:
    """A chat; where a text prompt stands beside it, one that the chat repeats."""
    messages = read_messages(row[column], column)
    if type(row.get("system")) is str and row["system"] and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": row["system"]}, *messages]
    prompt = row.get("prompt")
    said = [message["content"] for message in messages if message["role"] != "assistant"]
    if prompt and not wish.settled and prompt not in said and prompt not in (messages, messages[:-1]):
        readings = f"{column!r} as a chat, or 'prompt' as a prompt that is no part of it"
        hint = f"say read_as: {CHATS[column]} or read_as: prompts"
        raise Defect("ambiguous_shape", f"the row can be read with {readings}; {hint}")
    found = split_chat(messages, all_turns=wish.all_turns)
    if not found[-1].completions and not wish.settled:
        refuse_answers(column, row)
    return found


def _read_sharegpt_pair(row: Row, wish: Wish) -> list[Found]:
    before = read_messages(row["conversations"], "conversations")
    ends = (row[name] if type(row[name]) is list else [row[name]] for name in ("chosen", "rejected"))
    chosen, rejected = (
        [*before, *read_messages(end, name)] for end, name in zip(ends, ("chosen", "rejected"), strict=True)
    )
    return [split_pair(chosen, rejected)]


def _instruction(row: Row, more: str) -> Any:
    """An instruction and its input below it; a chat where there are turns before or words of the system."""
    parts = [text_of(row, name) for name in ("instruction", more)]
    prompt = "\n\n".join(part for part in parts if part)
    system, history = row.get("system"), row.get("history") or []
    if type(history) is not list or not all(type(turn) is list and len(turn) == 2 for turn in history):
        raise Defect("wrong_type", "'history' is no list of what was asked and answered, two texts each")
    if not system and not history:
        return prompt
    turns = [{"role": "system", "content": system}] if system else []
    for asked, answered in history:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return [*turns, {"role": "user", "content": prompt}]


def _read_alpaca(row: Row, wish: Wish) -> list[Found]:
    if "output" in row and "chosen" in row:
        hint = "leave one out, as in columns: {chosen: '', rejected: ''}"
        raise Defect("ambiguous_shape", f"can be read by 'output' or by 'chosen' and 'rejected'; {hint}")
    if "output" in row:
        return [Found(_instruction(row, "input"), [row["output"]])]
    return [Found(_instruction(row, "input"), [row["chosen"], row["rejected"]], rewards=[1.0, 0.0])]


def _read_openai(row: Row, wish: Wish) -> list[Found]:
    before = read_messages(row["input"].get("messages"), "input.messages")
    chosen, rejected = (
        [*before, *read_messages(row[name], name)] for name in ("preferred_output", "non_preferred_output")
    )
    return [replace(split_pair(chosen, rejected), more=tools_of(row["input"]))]


def _read_pair(row: Row, wish: Wish) -> list[Found]:
    chosen, rejected = (read_messages(row[name], name) for name in ("chosen", "rejected"))
    return [split_pair(chosen, rejected)]


def _read_hh(row: Row, wish: Wish) -> list[Found]:
    return [split_pair(read_transcript(row["chosen"]), read_transcript(row["rejected"]))]


def _both(row: Row, holds: Callable[[Any], bool]) -> bool:
    """Whether the row is a pair without a prompt."""
    named = {"prompt", "conversations", "instruction", "completion", "completions"} & row.keys()
    return not named and holds(row.get("chosen")) and holds(row.get("rejected"))


def _are_whole_texts(row: Row) -> bool:
    """Whether the row is a pair of texts beside which no other text could be their prompt."""
    texts = {name for name, value in row.items() if type(value) in (str, list, dict)}
    return texts == {"chosen", "rejected"} and _both(row, _is_text) and not _both(row, is_transcript)


def _fits_chat(column: str, row: Row) -> bool:
    """Whether the chat is the record, and not the prompt of completions beside it, or one of them again."""
    others = {"chosen", "rejected", "completion", "completions"}
    return is_chat(row.get(column)) and not others & row.keys()


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_span(row: Row) -> bool:
    attributes = row.get("attributes")
    spans = type(row.get("resourceSpans")) is list
    return spans or (type(attributes) is dict and "context" in row and "name" in row)


def _is_trace(row: Row) -> bool:
    whole = type(row.get("info")) is dict and type(row.get("data")) is dict
    return whole or ("trace_id" in row and ("trace" in row or {"request", "response"} <= row.keys()))


def _fits_alpaca(row: Row) -> bool:
    if type(row.get("instruction")) is not str or type(row.get("input", "")) is not str:
        return False
    pair = _is_text(row.get("chosen")) and _is_text(row.get("rejected"))
    return type(row.get("output")) is str or pair


SHAPES = (
    Shape(
        "messages",
        "chats, each with its last turn as the completion",
        ("messages", "system", "prompt"),
        lambda row: _fits_chat("messages", row),
        lambda row, wish: _read_chat("messages", row, wish),
    ),
    Shape(
        "sharegpt",
        "ShareGPT chats, each with its last turn as the completion",
        ("conversations", "system", "prompt"),
        lambda row: _fits_chat("conversations", row),
        lambda row, wish: _read_chat("conversations", row, wish),
    ),
    Shape(
        "sharegpt_pairs",
        "pairs of turns after ShareGPT chats",
        ("conversations", "chosen", "rejected"),
        lambda row: is_chat(row.get("conversations")) and {"chosen", "rejected"} <= row.keys(),
        _read_sharegpt_pair,
    ),
    Shape(
        "alpaca",
        "Alpaca's instructions, with their inputs below them",
        ("instruction", "input", "output", "system", "history", "chosen", "rejected"),
        _fits_alpaca,
        _read_alpaca,
    ),
    Shape(
        "dolly",
        "Dolly's instructions, with their contexts below them",
        ("instruction", "context", "response"),
        lambda row: all(_is_text(row.get(name)) for name in ("instruction", "context", "response")),
        lambda row, wish: [Found(_instruction(row, "context"), [row["response"]])],
    ),
    Shape(
        "openai_pairs",
        "OpenAI's pairs of a preferred output and another",
        ("input", "preferred_output", "non_preferred_output"),
        lambda row: (
            type(row.get("input")) is dict and {"preferred_output", "non_preferred_output"} <= row.keys()
        ),
        _read_openai,
    ),
    Shape(
        "chat_pairs",
        "pairs of whole chats",
        ("chosen", "rejected"),
        lambda row: _both(row, is_chat),
        _read_pair,
    ),
    Shape(
        "transcript_pairs",
        "pairs of whole transcripts of Human and Assistant",
        ("chosen", "rejected"),
        lambda row: _both(row, is_transcript),
        _read_hh,
    ),
    Shape(
        "text_pairs",
        "pairs of whole texts, whose common beginning is the prompt",
        ("chosen", "rejected"),
        _are_whole_texts,
        lambda row, wish: [split_texts(row["chosen"], row["rejected"])],
    ),
    Shape(
        "answers",
        "groups of answers that are objects",
        (),
        lambda row: (
            any(name in row for name in PROMPTS) and sum(are_answers(row.get(name)) for name in LISTS) == 1
        ),
        lambda row, wish: [read_answers(row, wish)],
    ),
    Shape(
        "trees",
        "OpenAssistant's trees of messages",
        ("prompt",),
        lambda row: is_tree(row.get("prompt")),
        lambda row, wish: read_tree(row),
    ),
    Shape(
        "mlflow",
        "traces of MLflow",
        ("data", "trace", "request", "response", "spans"),
        _is_trace,
        lambda row, wish: [read_mlflow(row, wish)],
    ),
    Shape(
        "spans",
        "OpenTelemetry's spans of calls of a model",
        ("resourceSpans", "attributes", "events"),
        _is_span,
        read_spans,
    ),
)
"""Tried where a row has none of the plain shapes; a row that fits two of them is refused."""
