"""Shapes of further data sets: read, or refused with what would help; no answer is left out in silence."""

import json
from typing import Any

import pytest

from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.shapes import Record, RecordReader
from tests.data.public import SYSTEM, said, user


def read(row: Any, **reading: Any) -> Record:
    (record,) = RecordReader(Reading(**reading)).read(json.loads(json.dumps(row)))
    return record


def refusal(row: Any, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


TURN = {"hashed_ip": "h", "language": "English", "toxic": False, "redacted": False, "timestamp": None}


def test_wildchat_and_lmsys_have_their_chats_in_conversation() -> None:
    row = {
        "conversation_hash": "x",
        "conversation": [{**user("q"), **TURN}, {**said("a"), **TURN}],
        "turn": 1,
    }
    record = read({**row, "redacted": False})
    assert (record.prompt, record.texts) == ([user("q")], ["a"])
    assert record.read_as == "chats, each with its last turn as the completion"
    assert record.dropped.split("\n") == ["hashed_ip", "language"]
    assert json.loads(record.columns) == {"conversation_hash": "x", "turn": 1, "redacted": False}
    assert read(row, read_as="messages").texts == ["a"]
    both = read({"messages": [user("p"), said("b")], "conversation": [user("q"), said("a")]})
    assert (both.texts, list(json.loads(both.columns))) == (["b"], ["conversation"])


@pytest.mark.parametrize(
    "other",
    [{"rejected_response": "b"}, {"rejected_messages": [user("q0"), said("a0"), user("q"), said("b")]}],
)
def test_a_rejected_end_beside_a_chat_makes_a_pair(other: dict[str, Any]) -> None:
    row = {"messages": [user("q0"), said("a0"), user("q"), said("a")], **other}
    record = read(row)
    assert record.prompt == [user("q0"), said("a0"), user("q")]
    assert (record.texts, record.rewards) == (["a", "b"], [1.0, 0.0])
    assert record.read_as == "pairs of a chat and another end of it"


def test_words_of_the_system_in_parts_are_read_and_what_are_none_is_refused() -> None:
    chat = [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}]
    for system in ("Be brief.", [{"text": "Be brief."}], [{"type": "text", "text": "Be brief."}]):
        assert read({"system": system, "messages": chat}).prompt == [SYSTEM, user("q")]
    assert read({"system": [], "messages": chat}).prompt == [user("q")]
    assert "'system' is an object, not text" in refusal({"system": {"a": 1}, "messages": chat})


def test_texts_beside_an_answered_chat_that_could_be_completions_are_said() -> None:
    row = {"problem": "q", "generations": ["a", "b"], "correctness": [True, False]}
    unused = read({**row, "messages": [user("q"), said("a")]}).unused
    assert unused == (
        "the texts in 'generations' beside the chat are not used; to use them: "
        "columns: {prompt: <column of the prompt>, completions: generations}; "
        "'correctness' looks like a reward and is not used"
    )
    columns = {"prompt": "problem", "completions": "generations", "rewards": "correctness"}
    assert read(row, columns=columns).rewards == [1.0, 0.0]


@pytest.mark.parametrize("name", ["correctness", "is_safe", "overall_quality", "stars", "accuracy"])
def test_more_names_look_like_rewards(name: str) -> None:
    record = read({"prompt": "q", "completion": "a", name: 1})
    assert (
        record.unused
        == f"{name!r} looks like a reward and is not used; to use it: columns: {{reward: {name}}}"
    )
    assert read({"prompt": "q", "completion": "a", name: 1}, columns={"reward": name}).rewards == [1.0]


def test_a_score_of_answers_under_another_name_is_said_and_the_line_uses_it() -> None:
    row = {"question": "q", "answers": [{"text": "a", "pm_score": 5}, {"text": "b", "pm_score": 1}]}
    line = "'pm_score' looks like a reward and is not used; to use it: columns: {reward: pm_score}"
    assert read(row).unused == line
    assert read(row, columns={"reward": "pm_score"}).rewards == [5.0, 1.0]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"prompt": "q", "response_0": "a", "response_1": "b", "better": 1}, ["response_0", "response_1"]),
        ({"context": [user("q")], "response1": "a", "response2": "b"}, ["response1", "response2"]),
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b"}, ["human_ref_A", "human_ref_B"]),
        (
            {"model_a": "m", "model_b": "n", "vote": "model_a", "conversation_a": [user("q"), said("a")],
             "conversation_b": [user("q"), said("b")]},
            ["conversation_a", "conversation_b"],
        ),
    ],
)  # fmt: skip
def test_answers_side_by_side_are_refused_without_a_line_that_would_lose_one(
    row: Any, names: list[str]
) -> None:
    refused = refusal(row)
    assert f"{names} look like answers to one prompt, and no line can say which is better" in refused
    assert "columns:" not in refused


def test_records_within_an_object_are_told_how_to_be_written() -> None:
    row = {"version": "1", "data": [{"instruction": "q", "output": "a"}]}
    assert "'jq .data' where 'data' is a list of records or say which is which: columns: " in refusal(row)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"system_prompt": "s", "question": "q", "response": "a"},
            "{prompt: question, completion: response}",
        ),
        ({"domain": "d", "history": "q", "reply": "a"}, "{prompt: history, completion: reply}"),
        ({"category": "c", "problem": "q", "solution": "a"}, "{prompt: problem, completion: solution}"),
    ],
)
def test_the_line_takes_neither_words_of_the_system_nor_what_describes_for_the_prompt(
    row: Any, line: str
) -> None:
    assert refusal(row).endswith(f"columns: {line}")


def test_several_choices_of_a_call_are_its_completions() -> None:
    choices = [
        {"message": said("a"), "finish_reason": "stop"},
        {"message": said("b"), "finish_reason": "length"},
    ]
    record = read({"request": {"messages": [user("q")], "n": 2}, "response": {"choices": choices}})
    assert (record.prompt, record.texts) == ([user("q")], ["a", "b"])
    assert (record.finished, record.rewards) == ([True, False], None)
