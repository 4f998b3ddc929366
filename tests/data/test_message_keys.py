"""What messages of real logs hold beside their words: dropped and said, refused, or honoured."""

import json
from pathlib import Path
from typing import Any

import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.record_pass import told_keys
from copg.data.rows import Row
from copg.data.shapes import Record, RecordReader
from copg.records import TURNS
from copg.stages.validate import ValidateConfig, validate_records
from tests.data.public import SYSTEM, said, user

OPENAI = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
"""What a reply of OpenAI's client holds besides."""


def read(row: Any, **reading: Any) -> list[Record]:
    return RecordReader(Reading(**reading)).read(json.loads(json.dumps(row)))


def refusal(row: Any, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


def test_nulls_and_empty_lists_are_nothing() -> None:
    (record,) = read({"messages": [{**user("q"), "name": None}, {**said("a"), **OPENAI}]})
    assert (record.prompt, record.texts, record.overlays) == ([user("q")], ["a"], None)
    assert record.dropped == ""


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{**user("q"), "id": "m1", "name": "Ann"}, {**said("a"), "timestamp": 3.5}]},
        {"prompt": [{**user("q"), "id": "m1", "name": "Ann"}], "completion": [{**said("a"), "timestamp": 1}]},
        {"prompt": "q", "chosen": [{**user("q"), "id": 1, "name": "A"}, {**said("a"), "timestamp": 1}],
         "rejected": [{**user("q"), "id": 2}, said("b")]},
        {"chosen": [{**user("q"), "id": 1, "name": "A"}, said("a")],
         "rejected": [{**user("q"), "id": 2}, {**said("b"), "timestamp": 3}]},
        {"conversations": [{"from": "human", "value": "q", "id": 1, "name": "x"},
                           {"from": "gpt", "value": "a", "timestamp": 3, "markdown": None}]},
        {"input": {"messages": [{**user("q"), "id": 1, "name": "x"}]}, "preferred_output": [said("a")],
         "non_preferred_output": [{**said("b"), "timestamp": 1}]},
    ],
)  # fmt: skip
def test_keys_that_nothing_reads_are_dropped_and_named(row: Any) -> None:
    (record,) = read(row)
    assert record.prompt in ([user("q")], "q")
    assert record.texts[0] == "a"
    assert record.dropped.split("\n") == ["id", "name", "timestamp"]


def test_names_of_one_row_are_not_those_of_the_next() -> None:
    reader = RecordReader(Reading())
    assert reader.read({"messages": [{**user("q"), "id": 1}, said("a")]})[0].dropped == "id"
    assert reader.read({"messages": [user("q"), said("a")]})[0].dropped == ""
    assert reader.read({"messages": [{**user("q"), "id": 0}, said("a")]})[0].dropped == "id"  # 0 is something


def test_they_are_said_once_with_their_names_and_how_many_records_have_each() -> None:
    assert told_keys({}) == []
    assert told_keys({"": 7}) == []
    assert told_keys({"id\nname": 2, "id": 1000, "": 3}) == [
        "keys of messages are left out, which no chat template is given: 'id' (1,002 records), "
        "'name' (2 records)"
    ]
    (line,) = told_keys({f"k{n}": 1 for n in range(1000)})
    assert line.endswith(" and 980 more")


def test_validate_says_them_and_warns_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"chosen": [{**user(f"q{n}"), "id": n}, said("a")], "rejected": [user(f"q{n}"), said("b")]}
        for n in range(40)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = ValidateConfig(max_rejected_fraction=0.0, min_held_out=1)
    validate_records(config, str(tmp_path / "a.jsonl"), tmp_path / "groups")
    line = "keys of messages are left out, which no chat template is given: 'id' (40 records)"
    assert line in capsys.readouterr().err.splitlines()
    warnings = json.loads((tmp_path / "groups/manifest.json").read_text())["facts"]["warnings"]
    assert f"validate: {line}" in warnings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("audio", {"id": "audio_1"}),
        ("images", ["a.png"]),
        ("prefix", True),
        ("channel", "analysis"),
        ("function_call", {"name": "look", "arguments": "{}"}),
    ],
)
def test_a_key_without_which_a_message_means_something_else_refuses_it(key: str, value: Any) -> None:
    row = {"messages": [{**user("q"), key: value}, said("a")]}
    why = f"a message of messages holds {key!r}, without which it would mean something else"
    assert refusal(row) == f"wrong_type: {why}"
    for nothing in (None, [], {}, "", False):
        assert read({"messages": [{**user("q"), key: nothing}, said("a")]})[0].dropped == ""


def test_a_refusal_of_the_model_is_what_it_said() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I cannot."}
    assert read({"messages": [user("q"), refused]})[0].texts == ["I cannot."]
    parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    assert read({"messages": [user("q"), parts]})[0].texts == ["I cannot."]
    assert "holds 'refusal'" in refusal({"messages": [user("q"), {**refused, "content": "a"}]})


CHAT = [user("q1"), said("a1"), user("q2"), said("a2")]


def weighted(*weights: Any, key: str = "weight") -> list[dict[str, Any]]:
    """The chat with a weight for each turn of the assistant; None for none."""
    given = iter(weights)
    return [
        {**turn, key: weight} if turn["role"] == "assistant" and (weight := next(given)) is not None else turn
        for turn in CHAT
    ]


@pytest.mark.parametrize("key", ["weight", "train", "training", "loss"])
@pytest.mark.parametrize("system", [{}, {"system": "Be brief."}])
def test_turns_of_weight_zero_are_context_and_no_completions(key: str, system: dict[str, str]) -> None:
    yes, no = (1, 0) if key == "weight" else (True, False)

    def texts(*weights: Any, **reading: Any) -> list[list[str]]:
        row = {"messages": weighted(*weights, key=key), **system}
        records = read(row, **reading)
        assert all(record.dropped == "" for record in records)
        return [record.texts for record in records]

    assert texts(no, yes) == [["a2"]]
    assert texts(no, yes, all_turns=True) == [["a2"]]
    assert texts(yes, no, all_turns=True) == [["a1"]]
    assert texts(None, None, all_turns=True) == [["a1"], ["a2"]]
    refused = refusal({"messages": weighted(yes, no, key=key), **system})
    assert refused.endswith("of weight 0, not learnt from; completion: all_turns reads those before it")
    assert refusal({"messages": weighted(no, no, key=key)}, all_turns=True).endswith(" not learnt from")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [user("q"), said("a")], "rejected": [user("q"), {**said("b"), "weight": 0}]},
        {"prompt": "q", "completion": [{**said("a"), "weight": 0}]},
        {"input": {"messages": [user("q")]}, "preferred_output": [{**said("a"), "weight": 0}],
         "non_preferred_output": [said("b")]},
    ],
)  # fmt: skip
def test_a_completion_of_weight_zero_is_refused(row: Any) -> None:
    assert "ends in a message that says it is not learnt from, as weight: 0" in refusal(row)


def test_a_weight_between_yes_and_no_and_a_turn_of_two_weights_are_refused() -> None:
    assert "has weight=0.5, neither 0 nor 1" in refusal({"messages": weighted(None, 0.5)})
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    turn = [user("q"), {**call, "weight": 0}, {"role": "tool", "content": "1"}, said("a")]
    assert "messages 2 to 4 are one turn, and some of them are of weight 0" in refusal({"messages": turn})
    assert read({"messages": weighted(None, 1.73, key="loss")})[0].dropped == "loss"  # a number, no yes or no


def test_blocks_of_anthropic_s_are_words_calls_results_and_thinking() -> None:
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "weather?", "cache_control": {"type": "e"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "Rome"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "20"}]}
        ]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is 20."}]},
    ]  # fmt: skip
    (record,) = read({"messages": [SYSTEM, *chat]})
    assert record.prompt == [SYSTEM, user("weather?")]
    (turn,) = (json.loads(own or "")[TURNS] for own in record.overlays or [])
    function = {"name": "look", "arguments": {"at": "Rome"}}
    called = {"id": "c1", "type": "function", "function": function}
    assert turn == [
        {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [called]},
        {"role": "tool", "content": "20", "tool_call_id": "c1"},
        said("It is 20."),
    ]
    image = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "image", "source": {}}]}
    assert "has parts of ['tool_result']" in refusal({"messages": [{"role": "user", "content": [image]}]})


def test_parts_that_are_a_text_and_nothing_else_are_its_words() -> None:
    gemini = [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]
    (record,) = read({"messages": gemini})
    assert (record.prompt, record.texts) == ([user("q")], ["a"])
    assert read({"messages": [{"role": "user", "content": [{"text": "q"}]}, said("a")]})[0].prompt == [
        user("q")
    ]


@pytest.mark.parametrize("name", ["arguments", "args", "parameters", "input"])
def test_what_a_call_is_given_is_never_left_out_for_its_name(name: str) -> None:
    call = {"name": "look", name: {"at": "Rome"}}
    (record,) = read({"messages": [user("q"), {"role": "assistant", "tool_calls": [call]}]})
    assert record.texts == ['{"name": "look", "arguments": {"at": "Rome"}}']


@pytest.mark.parametrize("key", ["a" * 10**5, "a\nb"])
def test_a_name_of_any_length_and_kind_is_a_short_one(key: str) -> None:
    row = {"messages": [{**user("q"), key: 1}, said("a")]}
    made = to_portion([Row("f", 1, value=row)], RecordReader(Reading()))
    (dropped,) = made.records["dropped"].to_pylist()
    assert len(told_keys({dropped: 1})[0]) < 200
