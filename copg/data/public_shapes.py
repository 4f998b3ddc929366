"""The shapes in which logs and data sets are published, each known by the columns it has."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from copg.data.answers import LISTS, PROMPTS, are_answers, is_tree, read_answers, read_tree
from copg.data.found import Found, Shape, Wish
from copg.data.gemini import SYSTEM
from copg.data.json_lines import Defect
from copg.data.log_shapes import SHAPES as LOGS
from copg.data.message_keys import is_learnt
from copg.data.messages import (
    is_chat,
    is_transcript,
    read_end,
    read_messages,
    read_transcript,
    split_chat,
    split_pair,
    split_texts,
    text_of,
)
from copg.data.misfits import CHATS, refuse_answers, unused_answers
from copg.data.parts import one_each
from copg.data.system_words import system_words
from copg.data.turns import begin_of_turn, tools_of
from copg.data.verdicts import SHAPE as VERDICTS
from copg.records import TOOLS

Row = Mapping[str, Any]
_CHATS = ("messages", "conversation")
_REJECTED = ("rejected_response", "rejected_messages")
"""Where the other end of a chat stands."""


def _read_chat(column: str, row: Row, wish: Wish) -> list[Found]:
    """A chat; where a text prompt stands beside it, one that the chat repeats."""
    messages = read_messages(row[column], column, wish.dropped)
    unlearnt = {n for n, item in enumerate(one_each(row[column])) if not is_learnt(item, column)}
    if (system := system_words(row, "system")) and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
        unlearnt = {n + 1 for n in unlearnt}
    prompt = row.get("prompt")
    said = [message["content"] for message in messages if message["role"] != "assistant"]
    if prompt and not wish.settled and prompt not in said and prompt not in (messages, messages[:-1]):
        readings = f"{column!r} as a chat, or 'prompt' as a prompt that is no part of it"
        hint = f"say read_as: {CHATS[column]} or read_as: prompts"
        raise Defect("ambiguous_shape", f"the row can be read with {readings}; {hint}")
    found = split_chat(messages, all_turns=wish.all_turns, unlearnt=unlearnt)
    if not found[-1].completions and not wish.settled:
        refuse_answers(column, row)
    for each in found:
        each.took, each.unused = (column, "system", "prompt"), unused_answers(row)
    return found


def _read_gemini(row: Row, wish: Wish) -> list[Found]:
    """A request of Gemini's, whose last turn is the model's; the system's words and tools stand beside it."""
    system = next((name for name in SYSTEM if name in row), "system")
    found = _read_chat("contents", {**row, "system": system_words(row, system)}, wish)
    took, more = ("contents", system, "prompt", TOOLS), tools_of(row)
    return [replace(each, took=took, more=more) for each in found]


def _read_rejected(row: Row, wish: Wish) -> list[Found]:
    """A chat and another end of it, which may be its words alone."""
    chosen = read_end(row["messages"], "messages", wish.dropped)
    rejected = row.get("rejected_messages")
    if rejected is None:
        said = {"role": "assistant", "content": row["rejected_response"]}
        return [split_pair(chosen, [*chosen[: begin_of_turn(chosen)], said])]
    return [split_pair(chosen, read_end(rejected, "rejected_messages", wish.dropped))]


def _read_sharegpt_pair(row: Row, wish: Wish) -> list[Found]:
    before = read_messages(row["conversations"], "conversations", wish.dropped)
    ends = (row[name] if type(row[name]) is list else [row[name]] for name in ("chosen", "rejected"))
    chosen, rejected = (
        [*before, *read_end(end, name, wish.dropped)]
        for end, name in zip(ends, ("chosen", "rejected"), strict=True)
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
    before = read_messages(row["input"].get("messages"), "input.messages", wish.dropped)
    names = ("preferred_output", "non_preferred_output")
    chosen, rejected = ([*before, *read_end(row[name], name, wish.dropped)] for name in names)
    return [replace(split_pair(chosen, rejected), more=tools_of(row["input"]))]


def _read_pair(row: Row, wish: Wish) -> list[Found]:
    chosen, rejected = (read_end(row[name], name, wish.dropped) for name in ("chosen", "rejected"))
    return [split_pair(chosen, rejected)]


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
    others = {"chosen", "rejected", "completion", "completions", *_REJECTED}
    return is_chat(row.get(column)) and not others & row.keys()


def _is_text(value: Any) -> bool:
    return type(value) is str


def _fits_alpaca(row: Row) -> bool:
    if type(row.get("instruction")) is not str or type(row.get("input", "")) is not str:
        return False
    pair = _is_text(row.get("chosen")) and _is_text(row.get("rejected"))
    return type(row.get("output")) is str or pair


SHAPES = (
    Shape(
        "messages",
        "chats, each with its last turn as the completion",
        ("messages", "conversation", "system", "prompt"),
        lambda row: any(_fits_chat(column, row) for column in _CHATS),
        lambda row, wish: _read_chat(next(c for c in _CHATS if is_chat(row.get(c))), row, wish),
    ),
    Shape(
        "gemini",
        "chats as Gemini takes them, each with its last turn as the completion",
        ("contents", *SYSTEM, "prompt", TOOLS),
        lambda row: is_chat(row.get("contents")) and any("parts" in item for item in row["contents"]),
        _read_gemini,
    ),
    Shape(
        "messages_pairs",
        "pairs of a chat and another end of it",
        ("messages", *_REJECTED),
        lambda row: (
            is_chat(row.get("messages"))
            and (_is_text(row.get("rejected_response")) or is_chat(row.get("rejected_messages")))
        ),
        _read_rejected,
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
        lambda row, wish: [split_pair(read_transcript(row["chosen"]), read_transcript(row["rejected"]))],
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
    VERDICTS,
    *LOGS,
)
"""Tried where a row has none of the plain shapes; a row that fits two of them is refused."""
