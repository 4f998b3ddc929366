"""Public shapes as real exports hold them: texts that spell chats, words for thumbs, more than one answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.rows import Row
from copg.data.shapes import Record, RecordReader
from copg.records import TURNS
from tests.data.public import SAID, SYSTEM, said, user
from tests.data.public_calls import CALLS_SAID


def read(row: Any, *, cells: bool = False, **reading: Any) -> Record:
    (record,) = RecordReader(Reading(**reading)).read(row, cells=cells)
    return record


def refusal(row: Any, *, cells: bool = False, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, cells=cells, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


CHAT = [SYSTEM, user("q"), said("a")]
PAIR = {"input": {"messages": CHAT[:2]}, "preferred_output": [said("a")], "non_preferred_output": [said("b")]}


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_chat_that_is_spelled_as_text_is_a_chat(cells: bool, indent: int | None) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, indent=indent)

    whole = {"messages": text(CHAT), "label": "true"}
    assert (read(whole, cells=cells).prompt, read(whole, cells=cells).rewards) == (CHAT[:2], [1.0])
    asked = {"prompt": text(CHAT[:2]), "completion": text([said("a")])}
    assert (read(asked, cells=cells).prompt, read(asked, cells=cells).texts) == (CHAT[:2], ["a"])
    pair = {"chosen": text(CHAT), "rejected": text([*CHAT[:2], said("b")])}
    assert (read(pair, cells=cells).prompt, read(pair, cells=cells).texts) == (CHAT[:2], ["a", "b"])
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    assert read({"conversations": text(turns)}, cells=cells).texts == ["a"]
    # what spells something else is a text
    other = text([{"name": "look", "arguments": {}}])
    assert read({"prompt": "q", "completion": other}, cells=cells).texts == [other]


def test_the_cells_of_openai_s_export_are_read_and_an_input_of_alpaca_s_in_json_stays_text() -> None:
    record = read({name: json.dumps(value) for name, value in PAIR.items()}, cells=True)
    assert (record.prompt, record.texts, record.rewards) == (CHAT[:2], ["a", "b"], [1.0, 0.0])
    record = read({"instruction": "i", "input": '{"a": 1}', "output": "o"}, cells=True)
    assert record.prompt == 'i\n\n{"a": 1}'


@pytest.mark.parametrize("column", ["prompt", "completion", "chosen", "messages", "conversations"])
def test_messages_as_python_prints_them_are_refused_and_not_taken_for_words(column: str) -> None:
    row = {"chosen": {"prompt": "q", "rejected": "b"}}.get(column, {"prompt": "q", "completion": "a"})
    row = {} if column in ("messages", "conversations") else row
    refused = refusal({**row, column: str([said("a")])}, cells=True)
    assert refused == f"wrong_type: {column!r} holds messages as Python prints them; write them as JSON"


@pytest.mark.parametrize("answer", ["completion", "completions", "response", "output", "answers"])
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_an_answer_beside_a_chat_without_one_is_never_left_out_in_silence(column: str, answer: str) -> None:
    several = answer in ("completions", "answers")
    row = {column: [user("q")], answer: ["a", "b"] if several else "a"}
    refused = refusal(row)
    line = refused[refused.index("{") + 1 : refused.rindex("}")]
    columns = dict(pair.split(": ") for pair in line.split(", "))
    record = read(row, columns=columns)
    assert (record.prompt, record.texts) == ([user("q")], ["a", "b"] if several else ["a"])
    shape = {"messages": "messages", "conversations": "sharegpt"}[column]
    assert f"read_as: {shape}" in refused
    assert read(row, read_as=shape).texts == []


def test_a_chat_that_is_answered_keeps_other_columns_beside_it() -> None:
    assert read({"messages": CHAT, "output": "file.txt"}).texts == ["a"]
    assert read({"messages": [user("q")], "source": "shop"}).texts == []


def test_both_readings_of_a_chat_beside_another_prompt_can_be_asked_for() -> None:
    row = {"prompt": "other", "messages": CHAT}
    assert refusal(row).endswith("say read_as: messages or read_as: prompts")
    assert read(row, read_as="messages").texts == ["a"]
    assert read(row, read_as="prompts").prompt == "other"


BEFORE = [SYSTEM, user("q1"), said("a1"), user("q")]


@pytest.mark.parametrize("prompt", ["q", "q1", "Be brief.", ""])
def test_whole_chats_beside_a_prompt_that_is_a_message_of_theirs_have_all_of_their_beginning(
    prompt: str,
) -> None:
    pair = read({"prompt": prompt, "chosen": [*BEFORE, said("a")], "rejected": [*BEFORE, said("b")]})
    assert (pair.prompt, pair.texts, pair.rewards) == (BEFORE, ["a", "b"], [1.0, 0.0])
    assert read({"prompt": prompt, "completion": [*BEFORE, said("a")], "label": False}).prompt == BEFORE


def test_whole_chats_that_part_earlier_or_repeat_another_prompt_are_refused() -> None:
    other = [SYSTEM, user("q1"), said("b1"), user("q")]
    row = {"prompt": "q", "chosen": [*BEFORE, said("a")], "rejected": [*other, said("b")]}
    assert refusal(row).startswith("wrong_type: completion 1 must be the prompt's messages")
    row = {"prompt": "z", "chosen": [*BEFORE, said("a")], "rejected": [*BEFORE, said("b")]}
    assert refusal(row).startswith("wrong_type: completion 1 must be the prompt's messages")


def test_a_completion_may_be_one_message() -> None:
    row = {"prompt": "q", "chosen": {"from": "gpt", "value": "a"}, "rejected": said("b")}
    assert (read(row).prompt, read(row).texts) == ("q", ["a", "b"])


@pytest.mark.parametrize(("asks", "says"), [("User", "Assistant"), ("human", "ai"), ("user", "bot")])
def test_who_speaks_may_have_other_names(asks: str, says: str) -> None:
    chat = [{"role": asks, "content": "q"}, {"role": says, "content": "a"}]
    assert (read({"messages": chat}).prompt, read({"messages": chat}).texts) == ([user("q")], ["a"])


def test_a_chat_that_ends_with_nobody_known_is_refused_and_no_prompt() -> None:
    chat = [user("q"), {"role": "bing", "content": "a"}]
    assert "the last message of the chat is of role='bing'" in refusal({"messages": chat})


def test_a_message_that_holds_too_much_is_told_what() -> None:
    assert refusal({"messages": [{"role": "user", "words": "q"}, said("a")]}).endswith(": it holds ['words']")
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}]
    refused = refusal({"messages": [{"role": "user", "content": parts}, said("a")]})
    assert refused.endswith(" of text: its 'content' has parts of ['image_url', 'text']")


def test_thinking_may_be_called_reasoning() -> None:
    record = read({"messages": [user("q"), {**said("a"), "reasoning": "hm"}]})
    assert json.loads((record.overlays or [""])[0] or "") == {
        TURNS: [{**said("a"), "reasoning_content": "hm"}]
    }


@pytest.mark.parametrize("name", ["thumb", "liked", "kto_tag"])
@pytest.mark.parametrize(
    ("value", "reward"),
    [
        *(("true", 1.0), ("yes", 1.0), ("positive", 1.0), ("Thumbs-Up", 1.0), ("1", 1.0)),
        *(("False", 0.0), ("no", 0.0), ("bad", 0.0), ("-1", 0.0), ("0", 0.0)),
        ("\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}", 1.0),
    ],
)
def test_a_thumb_in_words_is_a_thumb(name: str, value: str, reward: float) -> None:
    record = read({"prompt": "q", "completion": "a", name: value})
    assert (record.rewards, record.unused) == ([reward], "")


def test_a_word_that_is_no_thumb_is_said_to_be_unused_without_a_line_that_would_fail() -> None:
    record = read({"prompt": "q", "completion": "a", "thumb": "so so"})
    assert record.rewards is None
    assert record.unused == "'thumb' looks like a reward and is not used: neither yes, no nor a number"
    assert read({"prompt": "q", "completion": "a", "thumb": ""}).unused == ""
    assert read({"prompt": "q", "completion": "a", "thumb": None}).unused == ""


@pytest.mark.parametrize(
    ("row", "rewards"),
    [
        ({"prompt": "q", "completion": "a", "rating": "4.5"}, [4.5]),
        ({"prompt": "q", "completion": "a", "feedback": "positive"}, [1.0]),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": "8", "rejected_score": "6"},
            [8.0, 6.0],
        ),
        ({"prompt": "q", "completions": ["a", "b"], "thumbs": [True, False]}, [1.0, 0.0]),
        ({"prompt": "q", "completions": ["a", "b"], "rank": [2, 1]}, [0.0, 1.0]),
        ({"prompt": "q", "completions": ["a", "b"], "scores": [2, 1]}, [2.0, 1.0]),
    ],
)
def test_the_line_that_would_use_a_reward_uses_it(row: dict[str, Any], rewards: list[float]) -> None:
    line = read(row).unused.partition("columns: {")[2].removesuffix("}")
    columns = dict(pair.split(": ") for pair in line.split(", "))
    assert read(row, columns=columns).rewards == rewards


def test_the_rank_of_one_completion_is_no_reward() -> None:
    unused = read({"prompt": "q", "completion": "a", "rank": 3}).unused
    assert unused == "'rank' looks like a reward and is not used"


def test_one_of_two_scores_or_texts_of_answers_is_named_as_the_refusal_says() -> None:
    answers = [{"text": "a", "score": 1, "rating": 7}, {"text": "b", "score": 2, "rating": 5}]
    row = {"question": "q", "answers": answers}
    assert refusal(row).endswith("name one, as in columns: {reward: score}")
    assert read(row, columns={"reward": "score"}).rewards == [1.0, 2.0]
    assert read(row, columns={"reward": "rating"}).rewards == [7.0, 5.0]
    two = {"question": "q", "answers": [{"text": "a", "content": "b", "score": 1}]}
    line = "columns: {prompt: question, completions: answers.text, rewards: answers.score}"
    assert refusal(two).endswith(line)
    columns = {"prompt": "question", "completions": "answers.text", "rewards": "answers.score"}
    assert (read(two, columns=columns).texts, read(two, columns=columns).rewards) == (["a"], [1.0])


@pytest.mark.parametrize(
    ("row", "way"),
    [
        ({"prompt": "q", "source": "web"}, "read_as: prompts where it is a prompt alone"),
        ({"id": "x", "chosen": "a b", "rejected": "a c"}, "read_as: text_pairs where both hold their prompt"),
        ({"parent_id": None, "role": "prompter", "text": "q", "rank": None}, ", are read as trees"),
    ],
)
def test_a_refusal_names_the_reading_that_can_be_asked_for(row: dict[str, Any], way: str) -> None:
    assert way in refusal(row)


def test_words_of_the_system_beside_a_prompt_are_said_to_be_no_part_of_it() -> None:
    row = {"system": "Be brief.", "prompt": "q", "chosen": "a", "rejected": "b"}
    line = "'system' is no part of the prompt; to use it: make the prompt messages, of which it is the first"
    assert read(row).unused == line
    assert read({**row, "system": ""}).unused == ""
    assert read({**row, "prompt": [SYSTEM, user("q")]}).unused == ""
    assert read({"system": "Be brief.", "instruction": "q", "output": "a"}).unused == ""  # there it is read


ODD = (None, 3, "x", [], {}, ["x"], [{"a": 1}])


def bent(value: Any) -> Iterator[Any]:
    """The value with one thing in it replaced, at every place, in JSON that stands as text as well."""
    yield from ODD
    if isinstance(value, dict):
        yield from ({**value, key: other} for key, held in value.items() for other in bent(held))
    elif isinstance(value, list):
        places = enumerate(value)
        yield from ([*value[:n], other, *value[n + 1 :]] for n, held in places for other in bent(held))
    elif isinstance(value, str) and value[:1] in ("{", "["):
        yield from map(json.dumps, bent(json.loads(value)))


@pytest.mark.parametrize("make", SAID | CALLS_SAID, ids=lambda make: make.__name__)
def test_a_row_with_something_else_at_any_place_is_read_or_refused_and_ends_nothing(make: Any) -> None:
    rows = [Row("f", n, value=row) for n, row in enumerate(bent(make(1)[0]), 1)]
    made = to_portion(rows, RecordReader(Reading()))
    sources = [*made.records["source"].to_pylist(), *made.defects["source"].to_pylist()]
    assert {*sources} == {f"f:{n}" for n in range(1, len(rows) + 1)}
    assert made.defects.num_rows >= len(ODD)


@pytest.mark.parametrize("history", ["abc", [{"asked": "a", "answered": "b"}], [["a"]], [["a", "b", "c"]]])
def test_a_history_that_is_no_list_of_pairs_is_refused(history: Any) -> None:
    row = {"instruction": "i", "output": "o", "history": history}
    assert refusal(row).startswith("wrong_type: 'history' is no list of what was asked and answered")
    assert read({**row, "history": [["a", "b"]]}).prompt == [user("a"), said("b"), user("i")]


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "Rome"}}}
TURN = [
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "20", "tool_call_id": "c1"},
    said("It is 20."),
]


def trace(answered: Any, *marks: tuple[str, Any], asked: Any = None) -> dict[str, Any]:
    given = [{"assessment_name": name, "feedback": {"value": value}} for name, value in marks]
    asked = asked or {"messages": [user("q")]}
    return {"trace_id": "t", "request": json.dumps(asked), "response": answered, "assessments": given}


def turns_of(record: Record) -> Any:
    return json.loads((record.overlays or [""])[0] or "{}").get(TURNS)


def test_thinking_calls_and_results_in_the_outputs_of_a_trace_are_not_left_out() -> None:
    thought = {**said("a"), "reasoning_content": "hm"}
    assert turns_of(read(trace({"choices": [{"message": thought}]}))) == [thought]
    called = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}}
    (turn,) = turns_of(read(trace({"choices": [{"message": called}]})))
    assert turn["tool_calls"][0]["function"] == {"name": "look", "arguments": {}}
    # of an agent's outputs, which go on from the inputs, the whole turn is the completion
    for before in ([], [user("q")], [SYSTEM, user("q")]):
        record = read(trace({"messages": [*before, *TURN]}))
        assert record.prompt == (before or [user("q")])
        assert turns_of(record) == TURN
    assert read(trace({"messages": [user("q"), said("a")]}, asked={"question": "q"})).prompt == [user("q")]
    refused = refusal(trace({"messages": [user("z"), said("a")]}))
    assert refused.startswith("ambiguous_shape: the trace can be read with the inputs as the prompt, or what")


def test_calls_of_openai_s_responses_belong_to_their_message() -> None:
    items = [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "Rome"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "20"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is 20."}]},
    ]
    assert turns_of(read(trace({"output": items}))) == TURN
    (turn,) = turns_of(read(trace({"output": items[:2]})))
    assert turn["tool_calls"] == [CALL]


def test_feedback_in_words_is_read_and_what_cannot_be_is_said() -> None:
    assert read(trace("a", ("thumb", "positive"))).rewards == [1.0]
    assert read(trace("a", ("stars", "4"))).rewards == [4.0]
    assert (
        read(trace("a", ("mood", "so so"))).unused
        == "feedback mood is not used: neither yes, no nor a number"
    )
    assert read(trace("a", ("note", "a comment " * 9))).unused == ""
    assert read(trace("a", ("mood", "so so"), ("thumb", True))).unused == ""


def test_feedback_of_a_span_with_several_completions_is_said_to_be_unused() -> None:
    def parts(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"type": "text", "content": text}]}

    marks = {"gen_ai.evaluation.name": "thumb", "gen_ai.evaluation.score.value": 1}
    attributes = {
        "gen_ai.input.messages": json.dumps([parts("user", "q")]),
        "gen_ai.output.messages": json.dumps([parts("assistant", "a"), parts("assistant", "b")]),
    }
    events = [{"name": "gen_ai.evaluation.result", "attributes": marks}]
    record = read({"name": "chat", "context": {}, "attributes": attributes, "events": events})
    assert (record.texts, record.rewards) == (["a", "b"], None)
    assert record.unused == "feedback of a call with several completions is not used: it names none of them"
