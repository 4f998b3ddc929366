"""Messages in parts, as Anthropic and Gemini write them: calls, several results at a time, thinking."""

import json
from typing import Any

import pytest

from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.shapes import Record, RecordReader
from copg.records import MESSAGES, TURNS


def read(row: dict[str, Any], **reading: Any) -> Record:
    (record,) = RecordReader(Reading(**reading)).read(row)
    return record


def turn_of(record: Record) -> list[dict[str, Any]]:
    """The messages of its one completion."""
    assert record.overlays is not None
    found: list[dict[str, Any]] = json.loads(record.overlays[0] or "{}")[TURNS]
    return found


def use(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "look", "input": {"at": name}}


def result(name: str, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": content}


ASKED = {"role": "user", "content": "weather?"}
CALLED = {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use("a"), use("b")]}
RESULTS = [result("a", "20"), result("b", [{"type": "text", "text": "21"}])]
SAID = {"role": "assistant", "content": "20 and 21."}


def test_results_of_several_calls_in_one_message_are_a_message_each() -> None:
    record = read({"messages": [ASKED, CALLED, {"role": "user", "content": RESULTS}, SAID]})
    assert record.prompt == [ASKED]
    assert turn_of(record)[1:] == [
        {"role": "tool", "content": "20", "tool_call_id": "a"},
        {"role": "tool", "content": "21", "tool_call_id": "b"},
        SAID,
    ]


def test_words_beside_results_are_the_user_s_after_them() -> None:
    more = [*RESULTS, {"type": "text", "text": "in Celsius"}]
    record = read({"messages": [ASKED, CALLED, {"role": "user", "content": more}, SAID]})
    before = json.loads(record.columns)[MESSAGES]
    assert [each["role"] for each in before] == ["user", "assistant", "tool", "tool", "user"]
    assert before[-1]["content"] == "in Celsius"
    assert record.texts == ["20 and 21."]


def test_weights_stay_with_their_messages_where_results_are_taken_apart() -> None:
    turn = [{**CALLED, "weight": 0}, {"role": "user", "content": RESULTS}, {**SAID, "weight": 0}]
    chat = [ASKED, *turn, {"role": "user", "content": "and now?"}, {"role": "assistant", "content": "22."}]
    first, *others = RecordReader(Reading(all_turns=True)).read({"messages": chat})
    assert (first.texts, others) == (["22."], [])


def test_a_result_that_is_no_text_is_refused_beside_another() -> None:
    image = result("b", [{"type": "image", "source": {}}])
    with pytest.raises(Defect, match=r"its 'content' has parts of \['tool_result'\]"):
        read({"messages": [ASKED, CALLED, {"role": "user", "content": [RESULTS[0], image]}, SAID]})


WEATHER = {"role": "user", "parts": [{"text": "weather?"}]}
LOOKS = {
    "role": "model",
    "parts": [
        {"text": "Rome, then.", "thought": True},
        {"text": "I look."},
        {"functionCall": {"name": "look", "args": {"at": "Rome"}}, "thoughtSignature": "x"},
        {"functionCall": {"name": "look", "args": {"at": "Oslo"}}},
    ],
}
FOUND = {
    "role": "user",
    "parts": [{"functionResponse": {"name": "look", "response": {"temp": t}}} for t in (20, 4)],
}
ANSWERED = {"role": "model", "parts": [{"text": "20 "}, {"text": "and 4."}]}
DECLARED = {"name": "look", "parameters": {"type": "OBJECT", "properties": {"type": {"type": "STRING"}}}}
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {"type": {"type": "string"}}}}


@pytest.mark.parametrize(
    "names", [("functionCall", "functionResponse"), ("function_call", "function_response")]
)
def test_gemini_s_contents_are_a_chat_with_its_calls_results_and_thinking(names: tuple[str, str]) -> None:
    text = json.dumps([WEATHER, LOOKS, FOUND, ANSWERED])
    for ours, theirs in zip(("functionCall", "functionResponse"), names, strict=True):
        text = text.replace(f'"{ours}"', f'"{theirs}"')
    record = read({"contents": json.loads(text)})
    assert record.read_as == "chats as Gemini takes them, each with its last turn as the completion"
    assert record.prompt == [{"role": "user", "content": "weather?"}]
    calls = [
        {"type": "function", "function": {"name": "look", "arguments": {"at": at}}} for at in ("Rome", "Oslo")
    ]
    assert turn_of(record) == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Rome, then.",
            "tool_calls": calls,
        },
        {"role": "tool", "content": '{"temp": 20}', "name": "look"},
        {"role": "tool", "content": '{"temp": 4}', "name": "look"},
        {"role": "assistant", "content": "20 and 4."},
    ]


@pytest.mark.parametrize("system", ["systemInstruction", "system_instruction"])
def test_the_system_s_words_and_the_declared_functions_beside_contents_belong_to_them(system: str) -> None:
    row = {
        "contents": [WEATHER, ANSWERED],
        system: {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [DECLARED]}],
        "thumb": "up",
    }
    record = read(row)
    assert record.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weather?"},
    ]
    assert (record.texts, record.rewards) == (["20 and 4."], [1.0])
    assert json.loads(record.columns) == {
        "thumb": "up",
        "tools": [{"type": "function", "function": FUNCTION}],
    }


SERVED = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "look", "input_schema": FUNCTION["parameters"]},
        {"type": "custom", "name": "look", "input_schema": FUNCTION["parameters"], "cache_control": {}},
        {"type": "function", "name": "look", "parameters": FUNCTION["parameters"], "strict": True},
        {"functionDeclarations": [DECLARED]},
        {"type": "function", "function": FUNCTION},
    ],
)
def test_the_tools_of_a_logged_call_are_those_that_chat_templates_take_whoever_was_called(tool: Any) -> None:
    asked = {"messages": [ASKED], "tools": [tool, SERVED]}
    row = {"request": asked, "response": {"content": [{"type": "text", "text": "20"}]}}
    for each in (row, {"messages": [ASKED, SAID], "tools": [tool, SERVED]}):
        tools = json.loads(read(each).columns)["tools"]
        assert tools == [{"type": "function", "function": FUNCTION}, SERVED]


@pytest.mark.parametrize(("reason", "finished"), [("STOP", True), ("MAX_TOKENS", False), ("SAFETY", False)])
def test_a_logged_call_of_gemini_s_is_read(reason: str, finished: bool) -> None:
    candidate = {"content": {"role": "model", "parts": [{"text": "20"}]}, "finishReason": reason}
    row = {
        "request": {
            "contents": [{"parts": [{"text": "weather?"}]}],
            "systemInstruction": {"parts": [{"text": "s"}]},
        },
        "response": {"candidates": [candidate]},
    }
    record = read(row)
    assert [message["content"] for message in record.prompt] == ["s", "weather?"]  # type: ignore[index]
    assert (record.texts, record.finished) == (["20"], [finished])
    row["response"] = {"candidates": [candidate, {**candidate, "content": {"parts": [{"text": "21"}]}}]}
    assert read(row).texts == ["20", "21"]


def test_nulls_that_a_table_puts_into_parts_are_nothing() -> None:
    call = {"id": None, "name": "look", "args": {"at": "Rome"}}
    found = {"id": None, "name": "look", "response": {"temp": 20}}
    nothing = dict.fromkeys(("type", "text", "thought", "functionCall", "functionResponse"))
    looks = {"role": "model", "parts": [{**nothing, "text": "I look."}, {**nothing, "functionCall": call}]}
    result = {"role": "user", "parts": [{**nothing, "functionResponse": found}]}
    record = read({"contents": [WEATHER, looks, result, ANSWERED]})
    assert [message["role"] for message in turn_of(record)] == ["assistant", "tool", "assistant"]
    assert turn_of(record)[1] == {"role": "tool", "content": '{"temp": 20}', "name": "look"}


def test_what_gemini_holds_beside_words_and_calls_is_refused() -> None:
    image = {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}
    with pytest.raises(Defect, match="a message of contents is not a 'role' and a 'content' of text"):
        read({"contents": [image, ANSWERED]})
    with pytest.raises(Defect, match="'prompt' is missing, found"):
        read({"contents": "of a book"})
