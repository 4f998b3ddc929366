"""Logged calls of a model: what is one exchange is read, and what is none, or two, is refused in words."""

import json
from typing import Any

import pytest

from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.shapes import Record, RecordReader
from copg.records import TURNS
from tests.data.public import SYSTEM, said, user
from tests.data.public_calls import constructed, feedback, run


def read(row: Any, *, cells: bool = False, **reading: Any) -> Record:
    (record,) = RecordReader(Reading(**reading)).read(json.loads(json.dumps(row)), cells=cells)
    return record


def refusal(row: Any, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


def chat_run(answered: Any, **held: Any) -> dict[str, Any]:
    asked = constructed("HumanMessage", content="q")  # older dumps have no type
    return run(1, "llm", inputs={"messages": [[asked]]}, outputs={"generations": [[answered]]}, **held)


def turns_of(record: Record) -> Any:
    return json.loads((record.overlays or [""])[0] or "{}").get(TURNS)


CALL = {"name": "look", "args": {"at": "Rome"}, "id": "c1", "type": "tool_call"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "Rome"}}}


@pytest.mark.parametrize(
    "message",
    [
        constructed("AIMessage", content="", tool_calls=[CALL], type="ai", additional_kwargs={"x": 1}),
        {"type": "ai", "data": {"content": "", "tool_calls": [CALL], "additional_kwargs": {}}},
        {"type": "AIMessageChunk", "content": "", "tool_calls": [CALL], "id": "run-1"},
        constructed("AIMessage", content="", additional_kwargs={"tool_calls": [CALLED]}),
        constructed("AIMessage", content="", invalid_tool_calls=[{**CALL, "args": '{"at": "Rome"}'}]),
        constructed("AIMessage", content=[{"type": "tool_use", "id": "c1", "name": "look", "input": {}}],
                    tool_calls=[CALL]) | {"x": 0},
    ],
)  # fmt: skip
def test_langchain_s_calls_of_tools_are_read_in_each_of_its_ways(message: dict[str, Any]) -> None:
    record = read(chat_run({"text": "", "message": message}))
    (turn,) = turns_of(record)
    assert turn["tool_calls"][0]["function"]["name"] == "look"
    if "x" not in message:
        assert turn["tool_calls"] == [CALLED]
    chat = {"messages": [{"type": "human", "content": "q"}, message]}
    assert turns_of(read(chat))[0]["tool_calls"][0]["id"] == "c1"


def test_an_answer_in_audio_is_refused_and_a_cut_one_is_not_finished() -> None:
    audio = constructed("AIMessage", content="", additional_kwargs={"audio": {"data": "x"}})
    assert "holds 'audio', without which" in refusal(chat_run({"text": "", "message": audio}))
    cut = {"text": "a", "generation_info": {"finish_reason": "length"}}
    assert (read(chat_run(cut)).texts, read(chat_run(cut)).finished) == (["a"], [False])
    message = constructed("AIMessage", content="a", response_metadata={"stop_reason": "max_tokens"})
    assert read(chat_run({"text": "a", "message": message})).finished == [False]
    whole = constructed("AIMessage", content="a", response_metadata={"finish_reason": "stop"})
    assert read(chat_run({"text": "a", "message": whole})).finished == [True]


def test_older_models_of_texts_are_read() -> None:
    row = run(1, "llm", inputs={"prompts": ["q"]}, outputs={"generations": [[{"text": "a"}]]})
    assert (read(row).prompt, read(row).texts) == ("q", ["a"])
    two = run(1, "llm", inputs={"messages": [[said("x")], [said("y")]]}, outputs={"generations": [[], []]})
    assert "are those of 2 calls at a time" in refusal(two)


def test_parts_of_chains_and_failed_runs_are_refused_in_words() -> None:
    tool = run(1, "tool", inputs={"input": "x"}, outputs={"output": "y"})
    assert "the run is a part of another, of run_type='tool'; use calls of a model" in refusal(tool)
    inner = run(1, "chain", inputs={"input": "x"}, outputs={"output": "y"}, parent_run_id="2")
    assert "of run_type='chain'" in refusal(inner)
    failed = run(1, "llm", inputs={"messages": [[user("q")]]}, outputs=None, error="RateLimitError")
    assert refusal(failed) == "missing_field: the run has no outputs: error='RateLimitError'"


def test_several_feedbacks_have_to_be_chosen_and_tools_of_the_call_are_its_own() -> None:
    stats = feedback(helpful=1.0, short=0.25)
    row = chat_run({"text": "a"}, feedback_stats=stats)
    assert refusal(row).endswith("'helpful' as the reward or 'short' as the reward; name one, as in "
                                 "columns: {reward: helpful}")  # fmt: skip
    assert read(row, columns={"reward": "short"}).rewards == [0.25]
    words = {"mood": {"n": 2, "avg": None, "values": {"up": 1, "down": 1}}}
    assert read(chat_run({"text": "a"}, feedback_stats=words)).rewards is None
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    row = chat_run({"text": "a"}, extra={"invocation_params": {"tools": tools}})
    assert json.loads(read(row).columns)["tools"] == tools


@pytest.mark.parametrize(
    ("row", "prompt", "text"),
    [
        ({"inputs": {"question": "q"}, "outputs": {"answer": "a"}}, "q", "a"),
        ({"input": [user("q")], "output": said("a")}, [user("q")], "a"),
        ({"input": {"messages": [SYSTEM, user("q")]}, "output": "a"}, [SYSTEM, user("q")], "a"),
        ({"request": {"messages": [user("q")]}, "response": {"message": said("a"), "done": True}},
         [user("q")], "a"),
        ({"request": {"messages": [user("q")]},
          "response": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}],
                       "stop_reason": "end_turn", "usage": {}}}, [user("q")], "a"),
    ],
)  # fmt: skip
def test_inputs_and_outputs_of_one_call_are_an_exchange(row: Any, prompt: Any, text: str) -> None:
    record = read({"id": 1, **row, "label": True})
    assert (record.prompt, record.texts, record.rewards) == (prompt, [text], [1.0])
    assert record.read_as.startswith("calls of a model, with their inputs and outputs")
    assert json.loads(record.columns) == {"id": 1, "label": True}
    table = {name: json.dumps(held) for name, held in row.items()}
    assert (read(table, cells=True).prompt, read(table, cells=True).texts) == (prompt, [text])
    assert read({"score": 0.5, **row}, columns={"reward": "score"}).rewards == [0.5]


@pytest.mark.parametrize("make", [dict, lambda **row: run(1, "chain", **row)])
def test_texts_of_the_inputs_that_are_no_part_of_the_prompt_are_said(make: Any) -> None:
    inputs = {"question": "q", "context": "c", "chat_history": [], "k": 3}
    record = read(make(inputs=inputs, outputs={"output": "a"}))
    assert (record.prompt, record.unused) == ("q", "['context'] of the inputs: no part of the prompt")
    for spell in (dict, json.dumps):
        row = make(inputs=spell({"a": "x", "b": "y"}), outputs=spell({"output": "z"}))
        line = "columns: {prompt: inputs.a, completion: outputs.output}"
        found = "the inputs hold neither one text nor 'messages', found ['a', 'b']"
        assert refusal(row) == f"missing_field: {found}; say which is which: {line}"
        record = read(row, columns={"prompt": "inputs.a", "completion": "outputs.output"})
        assert (record.prompt, record.texts) == ("x", ["z"])


@pytest.mark.parametrize(
    "stream",
    [
        'data: {"choices": []}\n\n',
        'data:{"choices": []}\n\n',
        'event: message_start\ndata: {"type": "message_start"}\n\n',
        ': OPENROUTER PROCESSING\n\ndata: {"choices": []}\n\n',
        "id: 1\r\nevent: end\r\ndata: [DONE]\r\n\r\n",
    ],
)
def test_a_stream_of_events_is_no_answer(stream: str) -> None:
    row = {"request": {"messages": [user("q")], "stream": True}, "response": stream}
    assert refusal(row) == "wrong_type: the outputs are a stream of events, of which none is the whole answer"


def test_texts_beside_each_other_are_no_call_and_keep_their_line() -> None:
    assert "columns: {prompt: input, completion: output}" in refusal({"input": "q", "output": "a"})
    assert "columns: {prompt: request, completion: response}" in refusal({"request": "q", "response": "a"})


@pytest.mark.parametrize(
    "system", ["Be brief.", [{"type": "text", "text": "Be brief.", "cache_control": {}}]]
)
def test_words_of_the_system_beside_a_request_s_messages_begin_its_prompt(system: Any) -> None:
    reply = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]}
    asked = {"model": "m", "max_tokens": 9, "system": system, "messages": [user("q")]}
    record = read({"request": asked, "response": reply})
    assert (record.prompt, record.texts, record.unused) == ([SYSTEM, user("q")], ["a"], "")
    asked["messages"] = [{"role": "system", "content": "Be kind."}, user("q")]
    assert read({"request": asked, "response": reply}).prompt == asked["messages"]
    assert "'system' is an object" in refusal(
        {"request": asked | {"system": {"a": 1}, "messages": [user("q")]}, "response": reply}
    )


def test_openai_s_responses_have_instructions_and_calls_among_their_items() -> None:
    call = {
        "type": "function_call",
        "id": "i",
        "call_id": "c1",
        "name": "look",
        "arguments": '{"at": "Rome"}',
    }
    result = {"type": "function_call_output", "call_id": "c1", "output": "20"}
    asked = {"model": "m", "instructions": "Be brief.", "input": [user("q"), call, result]}
    part = {"type": "output_text", "text": "It is", "annotations": []}
    output = [{"type": "message", "id": "m", "role": "assistant", "content": [part]}]
    record = read({"request": asked, "response": {"status": "incomplete", "output": output}})
    assert (record.texts, record.finished, record.unused) == (["It is"], [False], "")
    messages = json.loads(record.columns)["_prompt_messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[0] == SYSTEM
    assert messages[2]["tool_calls"] == [CALLED]
    assert messages[3] == {"role": "tool", "content": "20", "tool_call_id": "c1"}
    plain = read({"request": asked | {"input": "q"}, "response": {"status": "completed", "output": output}})
    assert (plain.prompt, plain.finished) == ([SYSTEM, user("q")], [True])


@pytest.mark.parametrize("why", ["length", "max_tokens", "content_filter", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_off_is_not_finished(why: str) -> None:
    for reply in (
        {"choices": [{"message": said("a"), "finish_reason": why}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}], "stop_reason": why},
    ):
        assert read({"request": {"messages": [user("q")]}, "response": reply}).finished == [False]
