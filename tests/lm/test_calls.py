"""Calls of tools under templates that take them otherwise, and under those that know nothing of them."""

from typing import Any

import pytest

from copg.errors import RecordError
from copg.lm.config import TextConfig
from copg.lm.text import TextCodec
from copg.lm.turns import encode_turns
from copg.records import TOOLS
from tests.lm.test_text import ASK, TURNS, build
from tests.lm.test_turns import CALL, TURNS_OF_TWO, UNMARKED, told

BARE = [{**TURNS_OF_TWO[0], "content": ""}, *TURNS_OF_TWO[1:]]
AS_TEXT = UNMARKED.replace(
    "{{ m.content }}{% for",
    "{% if m.tool_calls and m.content is not defined %}{% else %}{{ m.content }}{% endif %}{% for",
).replace("{{ call.function | tojson }}", "{{ call.function.name + ' ' + call.function.arguments }}")
"""As DeepSeek's: what a call is given is text."""
NO_WORDS = UNMARKED.replace(
    "{{ m.content }}{% for", "{% if not m.tool_calls %}{{ m.content }}{% endif %}{% for"
)
"""As Llama 3.1's: beside a call there are no words."""
NO_CALLS = UNMARKED.replace(
    "{% for call in m.tool_calls %}", "{% for call in (m.tool_calls if m.content is not defined else []) %}"
)
"""As DeepSeek V3's: beside words there is no call."""
OPEN_CALLS = UNMARKED.replace("{% endfor %}<end>", "{% endfor %}{% if not m.tool_calls %}<end>{% endif %}")
"""A call is not ended: the first end after it is that of the result."""
NO_RESULTS = UNMARKED.replace(
    "{% else %}{{ m.content }}<end>", "{% else %}{% if m.role != 'tool' %}{{ m.content }}{% endif %}<end>"
)
NO_THOUGHTS = UNMARKED.replace("{% if m.reasoning_content %}", "{% if false %}")
ORDERED = {"type": "function", "function": {"name": "f", "arguments": {"y": 1, "x": 2}}}


def turned(template: str, turns: list[dict[str, Any]], **settings: Any) -> list[tuple[bool, str]]:
    codec = TextCodec(build(template), TextConfig(**settings))
    return told(codec, encode_turns(codec, codec.open(ASK), turns, finished=True).encoded.ids)


def test_a_call_is_given_as_text_and_without_words_where_the_template_takes_no_other() -> None:
    found = turned(AS_TEXT, BARE)
    assert found[0] == (True, 'CALLf {"x": 1}<end>')
    assert turned(NO_CALLS, BARE)[0][1].endswith('CALL{"name": "f", "arguments": {"x": 1}}<end>')
    assert turned(UNMARKED, BARE)[0] == (True, 'CALL{"name": "f", "arguments": {"x": 1}}<end>')


def test_what_a_call_is_given_stands_in_the_order_in_which_it_was_logged() -> None:
    found = turned(UNMARKED, [{**BARE[0], "tool_calls": [ORDERED]}, *BARE[1:]])
    assert '{"y": 1, "x": 2}' in found[0][1]


@pytest.mark.parametrize(
    ("template", "turns", "says"),
    [
        (TURNS, BARE, r"writes nothing of calls of tools: it knows none; take a model that does"),
        (
            NO_WORDS,
            TURNS_OF_TWO,
            r"writes the calls of message 1 .* without its words 'no'.*; leave the words",
        ),
        (NO_CALLS, TURNS_OF_TWO, r"does not write the call of 'f' in message 1"),
        (OPEN_CALLS, BARE, r"ends message 1 of the completion with none of .*generation_config\.json"),
        (NO_RESULTS, BARE, r"does not write the content of message 2 of a completion"),
    ],
)
def test_a_template_that_leaves_out_something_of_a_turn_is_refused(
    template: str, turns: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(RecordError, match=says):
        turned(template, turns)


def test_thinking_that_is_kept_and_not_written_is_refused() -> None:
    thought = [{**BARE[0], "reasoning_content": "ye"}, *BARE[1:]]
    assert turned(UNMARKED, thought, thinking="keep", lead="drawn")[0][1].startswith("<think>ye</think>CALL")
    with pytest.raises(RecordError, match=r"nothing of 'reasoning_content' .*: set text\.thinking to strip"):
        turned(NO_THOUGHTS, thought, thinking="keep", lead="drawn")


def test_calls_in_a_prompt_that_the_template_does_not_write_refuse_it() -> None:
    codec = TextCodec(build(TURNS))
    with pytest.raises(RecordError, match="writes nothing of calls of tools"):
        codec.open([*ASK, *BARE, *ASK])


def test_tools_that_no_template_writes_are_refused_with_a_way_out() -> None:
    codec = TextCodec(build(TURNS))
    with pytest.raises(RecordError, match=r"nothing of the 1 tools .* or describe them in a system message"):
        codec.open(ASK, {TOOLS: [CALL]})


def test_a_token_across_the_start_of_a_later_turn_is_noted() -> None:
    joins = UNMARKED.replace("<turn>assistant\n", "<turn>assistant\ny").replace(
        "<turn>{{ m.role }}\n", "<turn>{{ m.role }}\n{% if m.role == 'assistant' %}y{% endif %}"
    )
    codec = TextCodec(build(joins))
    turns = [{"role": "assistant", "content": "no", "tool_calls": [CALL]}, BARE[1]]
    for words, notes in (("no", ()), ("es", ("merges_with_prompt",))):  # y|es is one token in one text
        said = [*turns, {"role": "assistant", "content": words}]
        assert encode_turns(codec, codec.open(ASK), said, finished=True).encoded.notes == notes
