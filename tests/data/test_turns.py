"""Chats with tools: what of them is a prompt, what a completion, and what is kept beside their words."""

import json
from typing import Any

import numpy as np
import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.pooling import by_exact_prompt, pool_completions, pool_records, to_groups
from copg.data.rows import Row
from copg.data.shapes import Record, RecordReader
from copg.data.turns import begin_of_turn, is_turn
from copg.records import MESSAGES, SETTINGS, TURNS, Group, groups_to_table, table_to_groups
from copg.stores.completion_store import drawn_key
from tests.data.test_pooling import bucket

USER = {"role": "user", "content": "weather?"}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "Rome"}}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "20"}
SAYS = {"role": "assistant", "content": "It is 20."}
LOGGED_CALL = {  # as OpenAI logs it
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "Rome"}'}}
    ],
}
LOGGED_RESULT = {**RESULT, "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "0"}]}
ORDERED = {"name": "look", "arguments": {"to": "b", "at": "a"}}
IN_WORDS = '{"name": "look", "arguments": {"at": "Rome"}}'


def read(row: Any, **reading: Any) -> list[Record]:
    return RecordReader(Reading(**reading)).read(json.loads(json.dumps(row)))


def pooled(rows: list[Any]) -> Group:
    """The one group of rows of one prompt."""
    exact, first_forms = by_exact_prompt(bucket(rows, [[*range(len(rows))]]))
    (group,) = table_to_groups(to_groups(pool_records(exact, np.arange(1)).groups, first_forms))
    return group


def turns_of(record: Record) -> list[Any]:
    return [json.loads(overlay or "{}").get(TURNS) for overlay in record.overlays or []]


def test_a_call_its_result_and_the_words_after_it_are_one_turn() -> None:
    (record,) = read({"messages": [USER, LOGGED_CALL, LOGGED_RESULT, SAYS], "tools": TOOLS, "label": True})
    assert record.prompt == [USER]
    assert record.texts == [f"{IN_WORDS}\n\nIt is 20."]
    assert turns_of(record) == [[CALLED, RESULT, SAYS]]
    assert record.rewards == [1.0]
    assert json.loads(record.columns) == {"tools": TOOLS, "label": True}


def test_a_chat_of_words_alone_is_read_as_ever() -> None:
    (record,) = read({"messages": [USER, SAYS, USER, SAYS]})
    assert (record.prompt, record.texts, record.overlays) == ([USER, SAYS, USER], ["It is 20."], None)
    assert record.columns == "{}"


def test_calls_in_a_prompt_are_kept_and_told_in_words() -> None:
    (record,) = read({"messages": [USER, LOGGED_CALL, RESULT, SAYS, USER, SAYS]})
    assert json.loads(record.columns)[MESSAGES] == [USER, CALLED, RESULT, SAYS, USER]
    assert record.prompt == [
        USER,
        {"role": "assistant", "content": IN_WORDS},
        {"role": "tool", "content": "20"},
        SAYS,
        USER,
    ]
    assert (record.texts, record.overlays) == (["It is 20."], None)


def test_all_turns_are_a_completion_each_of_what_came_before() -> None:
    chat = [USER, CALLED, RESULT, SAYS, USER, SAYS]
    first, second = read({"messages": chat}, all_turns=True)
    assert (first.prompt, turns_of(first)) == ([USER], [[CALLED, RESULT, SAYS]])
    assert second.texts == ["It is 20."]
    assert first.side == second.side


def test_pairs_part_where_their_turns_begin_though_both_call_the_same() -> None:
    other = {"role": "assistant", "content": "No idea."}
    chosen, rejected = [USER, CALLED, RESULT, SAYS], [USER, CALLED, RESULT, other]
    (record,) = read({"chosen": chosen, "rejected": rejected})
    assert record.prompt == [USER]
    assert turns_of(record) == [chosen[1:], rejected[1:]]
    assert record.rewards == [1.0, 0.0]
    (plain,) = read({"prompt": "weather?", "chosen": chosen[1:], "rejected": [other]})
    assert plain.prompt == [USER]
    assert (turns_of(plain), plain.texts[1]) == ([chosen[1:], None], "No idea.")


def test_a_completion_may_be_a_turn_and_thinking_stays_beside_its_words() -> None:
    thought = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    (record,) = read({"prompt": [USER], "completion": [thought], "reward": 0.5})
    assert (record.texts, turns_of(record)) == (["4"], [[thought]])
    (group,) = read({"prompt": [USER], "completions": [[CALLED, RESULT, SAYS], "5"], "rewards": [1, 0]})
    assert (turns_of(group), group.texts[1]) == ([[CALLED, RESULT, SAYS], None], "5")


def test_the_older_form_of_calls_is_read_as_tools() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}}
    answered = {"role": "function", "name": "look", "content": "20"}
    (record,) = read({"messages": [USER, call, answered, SAYS]})
    assert turns_of(record)[0][:2] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {}}}],
        },
        {"role": "tool", "content": "20", "name": "look"},
    ]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (
            [USER, {"role": "assistant", "content": "x", "audio": "y"}],
            "holds 'audio', without which it would",
        ),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {}}]}], "a call without the name"),
        (
            [{"role": "user", "content": "x", "tool_calls": [1]}, SAYS],
            "holds 'tool_calls', without which it would mean something else",
        ),
        ([CALLED, RESULT, SAYS], "without a prompt before it"),
    ],
)
def test_a_message_that_means_nothing_is_told(messages: list[Any], says: str) -> None:
    with pytest.raises(Defect) as caught:
        read({"messages": messages})
    assert says in caught.value.detail


def test_a_turn_begins_after_what_is_not_the_assistant_s() -> None:
    assert begin_of_turn([USER, CALLED, RESULT, CALLED, RESULT, RESULT, SAYS]) == 1
    assert begin_of_turn([USER, SAYS, SAYS]) == 2  # as ever: the last message goes on from the one before
    assert begin_of_turn([USER, RESULT, SAYS]) == 2
    assert begin_of_turn([USER]) == 1
    assert is_turn([CALLED, RESULT, SAYS])
    assert not is_turn([SAYS, RESULT, SAYS])  # no call that the result answers
    assert not is_turn([CALLED, RESULT])
    assert not is_turn([SAYS, SAYS])
    assert not is_turn([])


def test_prompts_and_completions_that_differ_in_calls_alone_stay_apart() -> None:
    calls = [{**CALLED, "tool_calls": [{"function": {"name": name, "arguments": {}}}]} for name in "ab"]
    same = {"role": "assistant", "content": "x"}
    rows = [{"messages": [USER, call, RESULT, same, USER, SAYS]} for call in calls]
    portion = to_portion([Row("f", n, value=row) for n, row in enumerate(rows, 1)], RecordReader(Reading()))
    assert len(set(portion.records["exact_id"].to_pylist())) == 2
    results = [{**RESULT, "content": said} for said in ("20", "30")]
    turns = [[CALLED, result, SAYS] for result in results]
    records = [read({"prompt": [USER], "completion": turn, "reward": n})[0] for n, turn in enumerate(turns)]
    held = [
        {"texts": each.texts, "rewards": each.rewards, "finished": [True], "overlays": each.overlays}
        for each in records
    ]
    assert pool_completions(held).rewards == [0.0, 1.0]
    assert pool_completions([held[0], held[0]]).rewards == [0.0]


CALLS = '[{"name": "look", "arguments": {"at": "Rome"}}, {"name": "look", "arguments": {"at": "Bonn"}}]'


def test_calls_and_results_of_sharegpt_are_read_as_tools() -> None:
    def chat(call: str) -> dict[str, Any]:
        turns = [("human", "weather?"), ("function_call", call), ("observation", "20"), ("gpt", "It is 20.")]
        return {"conversations": [{"from": side, "value": text} for side, text in turns]}

    (record,) = read(chat(IN_WORDS))
    called, result, says = turns_of(record)[0]
    assert called == {
        **CALLED,
        "tool_calls": [{k: v for k, v in CALLED["tool_calls"][0].items() if k != "id"}],
    }
    assert (result, says) == ({"role": "tool", "content": "20"}, SAYS)
    (both,) = read(chat(CALLS))
    assert [each["function"]["arguments"] for each in turns_of(both)[0][0]["tool_calls"]] == [
        {"at": "Rome"},
        {"at": "Bonn"},
    ]
    with pytest.raises(Defect, match="invalid_json") as caught:
        read(chat("look at Rome"))
    assert "a call of a tool in conversations is not JSON" in caught.value.detail
    with pytest.raises(Defect, match="wrong_type"):
        read(chat("3"))


def test_tools_and_their_calls_are_found_where_traces_and_exports_have_them() -> None:
    asked = [{"role": "user", "parts": [{"type": "text", "content": "weather?"}]}]
    call = {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"at": "Rome"}}
    result = {"type": "tool_call_response", "id": "c1", "response": "20"}
    earlier = [
        *asked,
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, call]},
        {"role": "tool", "parts": [result]},
    ]
    answered = [
        {"role": "assistant", "parts": [{"type": "text", "content": "It is 20."}], "finish_reason": "stop"}
    ]
    attributes = {
        "gen_ai.input.messages": json.dumps(earlier),
        "gen_ai.output.messages": json.dumps(answered),
        "gen_ai.tool.definitions": json.dumps(TOOLS),
    }
    (record,) = read({"name": "chat", "context": {"trace_id": "1"}, "attributes": attributes})
    columns = json.loads(record.columns)
    assert columns["tools"] == TOOLS
    assert columns[MESSAGES] == [USER, {**CALLED, "reasoning_content": "hm"}, RESULT]
    assert record.texts == ["It is 20."]

    pair = {
        "input": {"messages": [USER], "tools": TOOLS, "parallel_tool_calls": True},
        "preferred_output": [LOGGED_CALL],
        "non_preferred_output": [SAYS],
    }
    (record,) = read(pair)
    assert json.loads(record.columns)["tools"] == TOOLS
    assert turns_of(record) == [[CALLED], None]

    request = {"messages": [USER], "tools": TOOLS}
    trace = {
        "trace_id": "t",
        "request": json.dumps(request),
        "response": json.dumps({"content": "It is 20."}),
    }
    (record,) = read(trace)
    assert json.loads(record.columns)["tools"] == TOOLS
    (record,) = read({**trace, "request": json.dumps({**request, "tools": []})})
    assert "tools" not in json.loads(record.columns)


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "blob", "content": "x"}],
        [{"type": "text", "content": 3}, {"type": "tool_call", "name": "f"}],
        [{"type": "tool_call", "arguments": {}}],
        [{"type": "tool_call_response", "response": "a"}, {"type": "tool_call_response", "response": "b"}],
        ["x", 3],
    ],
)
def test_parts_that_are_none_of_these_are_refused(parts: list[Any]) -> None:
    message = {"role": "assistant", "parts": parts}
    with pytest.raises(Defect, match="wrong_type"):
        read({"prompt": [USER], "completion": [message], "reward": 1.0})


def test_what_tools_and_calls_hold_stays_in_the_order_in_which_it_was_logged() -> None:
    tools = [{"type": "function", "function": {"name": "look", "description": "d", "at": 1}}]
    called = {"content": None, "role": "assistant", "tool_calls": [{"function": ORDERED, "id": "c1"}]}
    row = {"tools": tools, "messages": [USER, called, RESULT, SAYS], "label": True}
    group = pooled([row, {**row, "label": False}])
    (written,) = table_to_groups(groups_to_table([group]))  # as every later stage writes it
    assert json.dumps(written.columns["tools"]) == json.dumps(tools)
    (call,) = written.completions[0].columns[TURNS][0]["tool_calls"]
    assert json.dumps(call["function"]["arguments"]) == '{"to": "b", "at": "a"}'


def test_tools_in_another_order_are_another_prompt_on_the_same_side() -> None:
    backwards = [dict(reversed(tool.items())) for tool in TOOLS]
    rows = [{"messages": [USER, SAYS], "tools": tools, "label": True} for tools in (TOOLS, backwards)]
    first, second = to_portion(
        [Row("a", 1, value=row) for row in rows], RecordReader(Reading())
    ).records.to_pylist()
    assert (first["id"], first["side"]) == (second["id"], second["side"])
    assert first["exact_id"] != second["exact_id"]
    columns = {"tools": TOOLS}, {"tools": backwards}
    assert drawn_key([USER], columns[0], 0) != drawn_key([USER], columns[1], 0)
    assert drawn_key([USER], {SETTINGS: {"a": 1, "b": 2}}, 0) == drawn_key(
        [USER], {SETTINGS: {"b": 2, "a": 1}}, 0
    )


def test_completions_whose_calls_differ_in_order_alone_are_two() -> None:
    other = {"name": "look", "arguments": dict(reversed(ORDERED["arguments"].items()))}
    rows = [
        {
            "messages": [USER, {"role": "assistant", "tool_calls": [{"function": each}]}],
            "tools": TOOLS,
            "label": True,
        }
        for each in (ORDERED, other)
    ]
    assert len(pooled(rows).completions) == 2
