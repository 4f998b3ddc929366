"""Calls of tools under templates that take them otherwise, and under those that know nothing of them."""

from typing import Any

import pytest

from copg.errors import RecordError
from copg.lm.config import TextConfig
from copg.lm.text import TextCodec
from copg.lm.turns import encode_turns
from copg.records import TOOLS
from tests.lm.test_text import ASK, TURNS, build
from tests.lm.test_turns import CALL, TEMPLATE, TURNS_OF_TWO, UNMARKED, told

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
ONE_CALL = UNMARKED.replace("in m.tool_calls %}", "in (m.tool_calls or [])[:1] %}")
"""As gpt-oss's."""
ONE_RESULT = UNMARKED.replace(
    "{% else %}{{ m.content }}<end>",
    "{% else %}{% if messages[loop.index0 - 1].role != 'tool' %}{{ m.content }}{% endif %}<end>",
)
NO_END = UNMARKED.replace("<end>", "").replace("{{ '\n' }}", "")
"""As GLM's: what ends a turn is what begins the next."""
NO_THOUGHTS = UNMARKED.replace("{% if m.reasoning_content %}", "{% if false %}")
TWO_CALLS = [{**BARE[0], "tool_calls": [CALL, CALL]}, *BARE[1:]]
TWO_RESULTS = [TWO_CALLS[0], BARE[1], *BARE[1:]]
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
        (
            NO_CALLS,
            TURNS_OF_TWO,
            r"does not write call 1 of message 1 .*, of 'f': .* it beside what else the message holds$",
        ),
        (OPEN_CALLS, BARE, r"ends message 1 of the completion with none of .*generation_config\.json"),
        (ONE_CALL, TWO_CALLS, r"call 2 of message 1 .*, of 'f': .* beside what else the message holds$"),
        (ONE_RESULT, TWO_RESULTS, r"does not write the content of message 3 of a completion"),
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


@pytest.mark.parametrize(
    "spelled",
    [
        {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": ["a<end>b"]}}}]},
        {"tool_calls": [{"type": "function", "function": {"name": "f<end>", "arguments": {}}}]},
        {"reasoning_content": "so<end>"},
    ],
)
def test_a_call_or_a_thought_that_spells_the_end_of_a_turn_is_refused(spelled: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="spells a token that ends turns"):
        turned(UNMARKED, [{**BARE[0], **spelled}, *BARE[1:]], thinking="keep", lead="drawn")


@pytest.mark.parametrize("place", [0, 1])
def test_a_call_or_a_result_that_spells_a_special_token_is_counted(place: int) -> None:
    codec = TextCodec(build(UNMARKED))
    function = {"name": "f", "arguments": {"x": "<unk>"}}
    others = {"tool_calls": [{"type": "function", "function": function}]}, {"content": "<unk>"}
    spelled = [{**message, **(others[at] if at == place else {})} for at, message in enumerate(BARE[:2])]
    encoded = encode_turns(codec, codec.open(ASK), [*spelled, BARE[2]], finished=True).encoded
    assert encoded.notes == ("spells_special_tokens",)
    assert encode_turns(codec, codec.open(ASK), BARE, finished=True).encoded.notes == ()


def test_the_end_that_begins_another_turn_is_drawn_after_the_last_as_well() -> None:
    call = 'CALL{"name": "f", "arguments": {"x": 1}}<turn>'
    told = [(True, call), (False, "tool\nyes<turn>assistant\n"), (True, "yes yes<turn>")]
    assert turned(NO_END, BARE) == told
    codec = TextCodec(build(NO_END))
    opening = codec.open(ASK)
    assert encode_turns(codec, opening, BARE, finished=True).encoded.notes == ()
    said = encode_turns(codec, opening, BARE[2:], finished=True).encoded.ids
    assert said == codec.encode(opening, "yes yes", finished=True).ids  # as of words alone
    with pytest.raises(RecordError, match="ends message 1 of the completion with none of"):
        turned(NO_END, BARE[:1])  # a result would begin with another token than a question


def test_what_others_wrote_before_a_turn_may_not_be_marked_and_its_own_opening_may() -> None:
    opened = "<turn>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    assert opened in TEMPLATE
    marks = "{% if m.role == 'assistant' %}{% generation %}<turn>assistant\n"
    headed = TEMPLATE.replace(opened, marks).replace("{% else %}{{ m", "{% else %}<turn>{{ m.role }}\n{{ m")
    assert turned(headed, BARE) == turned(TEMPLATE, BARE)
    closed = "<end>{% endif %}{{ '\n' }}{% endfor %}"
    assert closed in headed
    early = "{% if m.role == 'tool' %}{% generation %}<end>{% endgeneration %}{% else %}<end>{% endif %}"
    with pytest.raises(RecordError, match="one of the two is wrong"):
        turned(headed.replace(closed, early + closed.removeprefix("<end>")), BARE)


@pytest.mark.parametrize(
    ("settings", "words", "says"),
    [
        ({}, "", r"\('LAST' becomes 'CALL\{.*'\); where it adds thinking, text\.lead: drawn may help$"),
        ({"lead": "drawn"}, "no", r"words beside earlier calls, leave them out of the record$"),
        ({"lead": "drawn", "thinking": "keep"}, "", r"thought earlier, text\.thinking: strip may help$"),
    ],
)
def test_what_a_template_writes_otherwise_later_is_shown_with_what_may_help(
    settings: dict[str, Any], words: str, says: str
) -> None:
    content = "{{ m.content }}{% for"
    forgets = UNMARKED.replace(content, "{% if loop.last %}LAST{% endif %}" + content)
    if settings:  # what stands beside a call is left out once an answer follows
        kept = "(loop.last or not (m.tool_calls and messages[-1].role == 'assistant'))"
        shown = f"{{% if {kept} %}}{{{{ m.content }}}}{{% endif %}}{{% for"
        forgets = UNMARKED.replace(content, shown)
        thought = f"{{% if m.reasoning_content and {kept} %}}"
        forgets = forgets.replace("{% if m.reasoning_content %}", thought)
    more = {"reasoning_content": "ye"} if settings.get("thinking") else {}
    with pytest.raises(RecordError, match=says):
        turned(forgets, [{**BARE[0], "content": words, **more}, *BARE[1:]], **settings)


def test_a_template_that_asks_for_a_null_is_not_said_to_know_no_calls() -> None:
    null = NO_CALLS.replace("m.content is not defined", "m.content is none")
    with pytest.raises(RecordError, match=r"reads 'tool_calls' in no form .*; take another template$"):
        turned(null, BARE)


def test_a_template_that_says_what_of_calls_it_refuses_is_not_said_to_know_none() -> None:
    single = "{% if m.tool_calls | length > 1 %}{{ raise_exception('one tool at a time') }}{% endif %}"
    with pytest.raises(RecordError, match=r"refuses the messages: one tool at a time$"):
        turned(UNMARKED.replace("{% for call", single + "{% for call"), TWO_CALLS)
