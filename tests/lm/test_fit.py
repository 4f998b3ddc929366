"""Records as one model reads and says them, without the stage around it."""

import json
from typing import Any

import pytest

from copg.data.columns import Portion, to_portion
from copg.data.found import Reading
from copg.data.rows import Row
from copg.data.shapes import RecordReader
from copg.errors import ModelError
from copg.lm.config import TextConfig
from copg.lm.fit import RecordFit
from copg.lm.text import TextCodec
from copg.lm.tokenizer import Limits
from tests import tiny
from tests.lm.test_text import THINKS, TURNS, build

ALTERNATES = (
    "{% for m in messages %}{% if m.role != ['user', 'assistant'][loop.index0 % 2] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + TURNS
)
WITH_TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}{% if loud %}!{% endif %}" + TURNS
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}


def ask(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


def row(prompt: Any, *completions: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completions": list(completions), **more}


GOOD = row(ask("good"), "yes", "no")
BAD = [
    (row([*ask("a"), *ask("b")], "x", "y"), "prompt_refused", "roles must alternate"),
    (row(ask("p" * 60), "x", "y"), "prompt_of_too_many_tokens", "80 tokens, the model's context is 64"),
    (row(ask("a"), "x" * 60, "y" * 60), "completion_of_too_many_tokens", "82 tokens with its prompt"),
    (row(ask("a"), "x yes", "y yes"), "token_without_embedding", "token '▁yes' has the id 105"),
    (row(ask("a yes"), "x", "y"), "token_without_embedding", "the model 105 embeddings"),
]
"""Records, why a model with a context of 64 and 105 embeddings has to refuse them, and how that
is told."""


def fitted(
    template: str | None, *rows: dict[str, Any], context: int = 999, text: TextConfig | None = None
) -> tuple[RecordFit, Portion]:
    """By a tokeniser of characters."""
    fit = RecordFit(TextCodec(build(template), text), Limits(context, None))
    return fit, fit(to_portion([Row("a.jsonl", n, value=value) for n, value in enumerate(rows, 1)], READER))


READER = RecordReader(Reading())


def texts(portion: Portion) -> list[list[str]]:
    return [list(each) for each in portion.records["texts"].to_pylist()]


def test_rewards_read_what_is_drawn_and_what_is_drawn_alike_is_one(tmp_path: Any) -> None:
    rows = [GOOD, row(ask("a"), " yes\n", "yes", "no", rewards=[1.0, 3.0, 0.0])]
    fit, portion = fitted(TURNS, *rows)  # the template trims
    assert texts(portion) == [["yes", "no"], ["yes", "yes", "no"]]
    assert portion.records["distinct"].to_pylist() == [2, 2]
    assert portion.records["completion_chars"].to_pylist() == [3, 3]
    assert portion.records["rewards"].to_pylist() == [None, [1.0, 3.0, 0.0]]
    assert fit.metrics()["text/changed_by_template"] == 1
    assert fit.tally.first["changed_by_template"] == "a.jsonl:2"
    assert fit.num_completions == 5


@pytest.mark.parametrize("template", [None, TURNS, THINKS])
@pytest.mark.parametrize("spaces", [False, True])
def test_what_rewards_read_has_the_ids_of_what_was_logged(template: str | None, spaces: bool) -> None:
    codec = TextCodec(build(template, spaces=spaces))
    prompt: Any = "why?" if template is None else ask("why?")
    logged = ["yes", " yes", "yes ", "a  b", "\n\nno", "ye s", "a ▁ b", "<end>"]
    portion = to_portion([Row("a.jsonl", 1, value=row(prompt, *logged))], READER)
    read = texts(RecordFit(codec, Limits(None, None))(portion))[0]
    opening = codec.open(prompt)
    for before, after in zip(logged, read, strict=True):
        ids = codec.encode(opening, before, finished=True).ids
        assert codec.encode(opening, after, finished=True).ids == ids
        assert codec.said(opening, codec.decode(ids, opening.ids)) == after


def test_a_text_that_would_be_drawn_otherwise_once_it_is_read_back_stays_and_is_counted() -> None:
    codec = TextCodec(tiny.build_tokenizer())  # puts no space between its words again
    assert codec.decode(codec.tokenizer("red cat", add_special_tokens=False).input_ids, [1]) == "redcat"
    fit = RecordFit(codec, Limits(None, None))
    assert texts(fit(to_portion([Row("a", 1, value=row("blue", "red cat", "dog"))], READER))) == [
        ["red cat", "dog"]
    ]
    assert fit.metrics()["text/not_as_drawn"] == 1
    assert fit.tally.first["not_as_drawn"] == "a:1"


def test_thinking_is_left_out_or_stripped_from_what_rewards_read() -> None:
    logged = row(ask("a"), "<think>hm</think>yes", "no", "<think>only</think>", "nor")
    fit, portion = fitted(THINKS, logged)
    assert texts(portion) == [["no", "nor"]]
    assert fit.metrics()["dropped/completion_refused"] == 2
    assert fit.tally.first["completion_refused"].startswith("a.jsonl:1: thinking up to '</think>'")
    fit, portion = fitted(THINKS, logged, text=TextConfig(thinking="strip"))
    assert texts(portion) == [["yes", "no", "nor"]]
    assert fit.metrics()["text/thinking_stripped"] == 1
    assert fit.metrics()["dropped/completion_without_words"] == 1


def test_special_tokens_in_prompts_and_completions_are_counted_and_the_first_is_named() -> None:
    rows = [GOOD, row(ask("a <end> b"), "x", "y"), row(ask("c"), "x <turn>", "y"), row("a </s> b", "x", "y")]
    fit, _ = fitted(TURNS, *rows)
    assert fit.metrics()["text/prompts_spell_special_tokens"] == 2
    assert fit.metrics()["text/spells_special_tokens"] == 1
    assert fit.tally.first["prompts_spell_special_tokens"] == "a.jsonl:2"
    assert fit.tally.first["spells_special_tokens"] == "a.jsonl:3"


ASKED = [
    (TURNS, {"tools": [TOOL]}, "writes nothing of the 1 tools"),
    (TURNS, {"tools": 7}, "tools=7 must be a JSON list"),
    (TURNS, {"tools": "[{"}, "is no JSON"),
    (TURNS, {"chat_template_kwargs": {"quiet": True}}, "'quiet' is nothing that the chat template reads"),
    (TURNS, {"chat_template_kwargs": {"chat_template": "x"}}, "'chat_template' is nothing that the chat"),
    (WITH_TOOLS, {"tools": [TOOL]}, ""),
    (WITH_TOOLS, {"tools": json.dumps([TOOL])}, ""),
    (WITH_TOOLS, {"chat_template_kwargs": {"loud": True}}, ""),
    (TURNS, {"tools": [], "chat_template_kwargs": None}, ""),
]


@pytest.mark.parametrize(("template", "columns", "refused"), ASKED)
def test_what_a_record_asks_of_the_template_reaches_it_or_the_record_is_refused(
    template: str, columns: dict[str, Any], refused: str
) -> None:
    _, portion = fitted(template, GOOD | columns)
    found = [(each["reason"], refused in each["detail"]) for each in portion.defects.to_pylist()]
    assert found == ([("prompt_refused", True)] if refused else [])


def test_a_prompt_is_opened_with_its_tools_and_settings() -> None:
    codec = TextCodec(build(WITH_TOOLS))
    columns = {"tools": [TOOL], "chat_template_kwargs": {"loud": True}}
    plain, asked = codec.open(ask("a")), codec.open(ask("a"), columns)
    assert asked.before == json.dumps([TOOL]) + "!" + plain.before
    assert codec.encode(asked, "yes", finished=True).ids == codec.encode(plain, "yes", finished=True).ids
    assert codec.open("a", columns).before == "a"  # text is given to no template


def test_records_that_differ_in_tools_alone_are_different_prompts() -> None:
    asked = [{}, {"tools": [TOOL]}, {"tools": json.dumps([TOOL])}, {"chat_template_kwargs": {"loud": True}}]
    portion = to_portion([Row("a", n, value=GOOD | more) for n, more in enumerate(asked)], READER)
    ids = portion.records["id"].to_pylist()
    assert ids[1] == ids[2]  # the same, once as text
    assert len(set(ids)) == 3
    texts_alone = to_portion([Row("a", 1, value=row("a", "x", "y", **more)) for more in asked], READER)
    assert len(set(texts_alone.records["id"].to_pylist())) == 1


def test_a_chat_without_a_template_is_told_with_its_line() -> None:
    with pytest.raises(ModelError, match=r"a\.jsonl:1: the prompt is a chat, but the tokeniser has no chat"):
        fitted(None, GOOD)


def test_records_that_are_refused_anyway_are_not_looked_at() -> None:
    rows = [row(ask(" "), "x", "y"), row(ask("a"), "x", " "), row(ask("a"), "x", rewards=[])]
    fit, portion = fitted(None, *rows)  # a chat would need a template
    assert (portion.records.num_rows, portion.defects.num_rows, fit.num_completions) == (3, 0, 0)
