"""What rows mean, shape by shape, and why others mean nothing."""

import math
from dataclasses import replace
from typing import Any

import pytest

from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.shapes import Record, RecordReader


def read(row: Any, columns: dict[str, str] | None = None, *, cells: bool = False) -> Record:
    (record,) = RecordReader(Reading(columns or {})).read(row, cells=cells)
    return replace(record, read_as="")


def reason(row: Any, columns: dict[str, str] | None = None, *, cells: bool = False) -> str:
    with pytest.raises(Defect) as caught:
        read(row, columns, cells=cells)
    assert caught.value.detail
    return caught.value.reason


USER = {"role": "user", "content": "Hi?"}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_group_keeps_its_other_columns_untouched() -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "rewards": [1, 0.5], "id": 7, "tests": ["x"]}
    kept = Record("p", ["a", "b"], [1.0, 0.5], [True, True], '{"id": 7, "tests": ["x"]}', unsaid_ends=2)
    assert read(row) == kept


def test_rewards_and_flags_may_be_left_out_or_null() -> None:
    assert read({"prompt": "p", "completions": ["a"]}) == Record(
        "p", ["a"], None, [True], "{}", unsaid_ends=1
    )
    row = {"prompt": "p", "completions": ["a", "b"], "rewards": None, "finished": [True, False]}
    assert read(row) == Record("p", ["a", "b"], None, [True, False], "{}")


def test_a_pair_has_rewards_one_and_zero_unless_given() -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert read(pair).rewards == [1.0, 0.0]
    assert read(pair | {"chosen_reward": 8, "rejected_reward": 6.5}).rewards == [8.0, 6.5]
    # one of two given: the other is missing, which the count of rewards will tell
    assert read(pair | {"chosen_reward": 8}).rewards == [8.0, None]


def test_one_row_a_completion() -> None:
    row = {"prompt": "p", "completion": "a", "reward": 0.5, "finished": False}
    assert read(row) == Record("p", ["a"], [0.5], [False], "{}")
    assert read({"prompt": "p", "completion": "a", "reward": None}).rewards is None


def test_a_chat_prompt_stays_a_chat() -> None:
    record = read({"prompt": [USER | {"name": None}], "completions": ["a", [assistant("b")]]})
    assert record.prompt == [USER]
    assert record.texts == ["a", "b"]


def test_a_completion_may_repeat_the_prompt_and_turns_a_text_prompt_into_its_message() -> None:
    row = {"prompt": "Hi?", "chosen": [USER, assistant("a")], "rejected": [USER, assistant("b")]}
    record = read(row)
    assert record.prompt == [USER]
    assert record.texts == ["a", "b"]


def test_a_completion_that_repeats_another_prompt_is_refused() -> None:
    other = {"role": "user", "content": "Bye?"}
    assert reason({"prompt": "Hi?", "completions": [[other, assistant("a")], "b"]}) == "wrong_type"
    assert reason({"prompt": [USER], "completions": [[USER], "b"]}) == "wrong_type"


def test_fields_can_have_other_names_and_lie_deeper() -> None:
    row = {"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "prompt": "other"}
    record = read(row, {"prompt": "info.post", "completions": "summaries.text"})
    assert (record.prompt, record.texts) == ("p", ["a", "b"])
    assert '"prompt": "other"' in record.columns
    assert read({"a.b": "p", "completions": ["x"]}, {"prompt": "a.b"}).prompt == "p"


def test_a_field_can_be_left_out() -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "chosen": "a", "rejected": "b"}
    assert reason(row) == "ambiguous_shape"
    record = read(row, {"chosen": "", "rejected": ""})
    assert record.texts == ["a", "b"]
    assert record.columns == '{"chosen": "a", "rejected": "b"}'


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, 2], "not_an_object"),
        (None, "not_an_object"),
        ({}, "missing_field"),
        ({"prompt": "p", "answer": "a"}, "missing_field"),
        ({"prompt": None, "completions": ["a"]}, "missing_field"),
        ({"completions": ["a", "b"]}, "missing_field"),
        ({"prompt": "p", "chosen": "a"}, "missing_field"),
        ({"prompt": "p", "completions": ["a"], "completion": "b"}, "ambiguous_shape"),
        ({"prompt": "p", "completions": ["a"], "reward": 1.0}, "ambiguous_shape"),
        ({"prompt": "p", "completion": "a", "rewards": [1.0]}, "ambiguous_shape"),
        ({"prompt": 3, "completions": ["a"]}, "wrong_type"),
        ({"prompt": [], "completions": ["a"]}, "wrong_type"),
        ({"prompt": [{"role": "user"}], "completions": ["a"]}, "wrong_type"),
        ({"prompt": [USER | {"tool_calls": [1]}], "completions": ["a"]}, "wrong_type"),
        ({"prompt": [{"role": "user", "content": [{"image": 1}]}], "completions": ["a"]}, "wrong_type"),
        ({"prompt": "p", "completions": "ab"}, "wrong_type"),
        ({"prompt": "p", "completions": ["a", True]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a", None]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a", 1]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a"], "rewards": ["1.0"]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a"], "rewards": [True]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a"], "rewards": 1.0}, "wrong_type"),
        ({"prompt": "p", "completions": ["a"], "finished": [1]}, "wrong_type"),
        ({"prompt": "p", "completions": ["a"], "finished": [True, True]}, "wrong_type"),
    ],
)
def test_nothing_is_guessed_or_coerced(row: Any, expected: str) -> None:
    assert reason(row) == expected


def test_the_detail_uses_the_users_own_names() -> None:
    with pytest.raises(Defect, match=r"'question' is missing, found \['answers'\]"):
        read({"answers": ["a"]}, {"prompt": "question", "completions": "answers"})


def test_an_integer_too_large_for_a_reward_is_infinite_not_an_error() -> None:
    assert read({"prompt": "p", "completions": ["a"], "rewards": [-(10**400)]}).rewards == [-math.inf]


def test_cells_hold_lists_as_json_and_numbers_as_text() -> None:
    row = {"prompt": "p", "completions": '["a", "b"]', "rewards": "[1, 0.5]", "finished": "", "id": "7"}
    kept = Record("p", ["a", "b"], [1.0, 0.5], [True, True], '{"id": "7"}', unsaid_ends=2)
    assert read(row, cells=True) == kept
    row = {"prompt": "[1]", "completion": "true", "reward": "0.5", "finished": "false"}
    assert read(row, cells=True) == Record("[1]", ["true"], [0.5], [False], "{}")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"completions": "['a', 'b']"}, "invalid_json"),
        ({"completions": '["a", "b"]', "rewards": "[1, NaN]"}, "invalid_json"),
        ({"completion": "a", "reward": "high"}, "wrong_type"),
        ({"completion": "a", "reward": "1_000"}, "wrong_type"),
        ({"completions": "7"}, "wrong_type"),
    ],
)
def test_cells_that_mean_nothing_are_refused(cells: dict[str, str], expected: str) -> None:
    assert reason({"prompt": "p"} | cells, cells=True) == expected


def test_an_empty_cell_is_absent_but_an_empty_text_is_blank() -> None:
    record = read({"prompt": "", "completion": "", "reward": ""}, cells=True)
    assert (record.prompt, record.texts, record.rewards) == ("", [""], None)


def test_an_empty_cluster_is_none_and_one_called_zero_is_one() -> None:
    row = {"prompt": "p", "completion": "a"}
    assert read({**row, "cluster": ""}).side is None
    assert read({**row, "cluster": 0}).side not in (None, read({**row, "cluster": "a"}).side)
