"""Counts and lengths of records, and the columns that they are in."""

from typing import Any

import pytest

from copg.data.columns import near_id, to_portion
from copg.data.counts import COUNTS
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.rows import Row
from copg.data.shapes import RecordReader
from copg.records import prompt_id


def portion(*values: Any) -> Any:
    return to_portion(
        [Row("f", n, value=value) for n, value in enumerate(values, 1)], RecordReader(Reading())
    )


def counts(value: dict[str, Any]) -> dict[str, int]:
    records = portion(
        {"prompt": "before", "completions": []}, value, {"prompt": "after", "completions": ["x"]}
    ).records
    return {name: records[name][1].as_py() for name in COUNTS}


def test_every_count_of_an_ordinary_record() -> None:
    assert counts({"prompt": "Hé?", "completions": ["ab", "abc", "a"], "rewards": [1, 2, 3]}) == {
        "blank_prompts": 0,
        "prompt_chars": 3,
        "completions": 3,
        "blank_completions": 0,
        "completion_chars": 3,
        "all_completion_chars": 6,
        "control_characters": 0,
        "rewards_given": 3,
        "rewards_null": 0,
        "rewards_amiss": 0,
        "rewards_nonfinite": 0,
        "unranked_completions": 0,
        "unsaid_ends": 3,
    }


@pytest.mark.parametrize(
    ("rewards", "amiss", "nonfinite"),
    [
        (None, 0, 0),
        ([1.0, 2.0], 0, 0),
        ([1.0], 1, 0),
        ([1.0, 2.0, 3.0], 1, 0),
        ([], 2, 0),
        ([1.0, None], 1, 0),
        ([float("nan"), float("inf")], 0, 2),
        ([float("nan"), None], 1, 1),
    ],
)
def test_rewards_are_counted_not_given_to_great_expectations(
    rewards: list[float] | None, amiss: int, nonfinite: int
) -> None:
    found = counts({"prompt": "p", "completions": ["a", "b"], "rewards": rewards})
    assert (found["rewards_amiss"], found["rewards_nonfinite"]) == (amiss, nonfinite)


@pytest.mark.parametrize("text", ["", " \t\n", "\u00a0\u3000", "\u200b\ufeff", "\x00\x1b", "\u2028\u00ad"])
def test_what_leaves_no_mark_is_blank(text: str) -> None:
    found = counts({"prompt": text, "completions": ["a", text, text]})
    assert (found["blank_prompts"], found["blank_completions"]) == (1, 2)


def test_a_chat_is_blank_when_all_its_contents_are() -> None:
    chat = [{"role": "system", "content": ""}, {"role": "user", "content": " "}]
    assert counts({"prompt": chat, "completions": ["a"]})["blank_prompts"] == 1
    chat[1] = {"role": "user", "content": "Hi"}
    assert counts({"prompt": chat, "completions": ["a"]})["blank_prompts"] == 0


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\x9f"])
def test_control_characters_are_counted_by_the_texts_that_hold_them(character: str) -> None:
    found = counts({"prompt": f"a{character}", "completions": ["a\tb\r\n", f"{character}b", "c"]})
    assert found["control_characters"] == 2


def test_rows_that_are_no_records_keep_their_places_and_reasons() -> None:
    made = portion(
        {"prompt": "p", "completions": ["a"]}, 3, {"prompt": "q", "completions": ["b"]}, {"prompt": 1}
    )
    assert made.num_rows == 4
    assert made.records["source"].to_pylist() == ["f:1", "f:3"]
    assert [(d["position"], d["source"], d["reason"]) for d in made.defects.to_pylist()] == [
        (1, "f:2", "not_an_object"),
        (3, "f:4", "missing_field"),
    ]


def test_a_defective_line_is_kept_as_text_whatever_its_bytes() -> None:
    rows = [
        Row("f", 1, raw=b'{"a": "\xff"}\n'),
        Row("f", 2, value=["\udcff"], defect=Defect("invalid_utf8", "x")),
    ]
    defects = to_portion(rows, RecordReader(Reading())).defects.to_pylist()
    assert defects[0]["record"] == '{"a": "\\xff"}'
    assert defects[0]["detail"] == "byte 0xff at position 8: invalid start byte"
    assert "\\udcff" in defects[1]["record"]


def test_ids_are_those_of_the_prompts() -> None:
    made = portion({"prompt": "a  b", "completions": ["x"]}, {"prompt": "a b", "completions": ["x"]})
    assert [key.hex() for key in made.records["id"].to_pylist()] == [prompt_id("a b")] * 2


def test_near_ids_fold_case_punctuation_white_space_and_chat_form() -> None:
    chat = [{"role": "user", "content": "what is 2, plus 2"}]
    assert near_id("What is 2 plus 2?") == near_id(chat) == near_id("WHAT IS\n2 PLUS 2")
    assert near_id("Straße") == near_id("STRASSE")
    assert near_id("What is 2 plus 3?") != near_id("What is 2 plus 2?")
    assert near_id("?") != near_id("!")  # not all of them the same nothing


def test_distinct_completions_tell_finished_from_cut_off() -> None:
    made = portion(
        {"prompt": "p", "completions": ["a", "a", "b"]},
        {"prompt": "p", "completions": ["a", "a"], "finished": [True, False]},
    )
    assert made.records["distinct"].to_pylist() == [2, 2]
