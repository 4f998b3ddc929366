"""JSON lines against the suite of nst/JSONTestSuite, and what Python's own parser would let through."""

import contextlib
import json
from pathlib import Path

import pytest

from copg.data.json_lines import MAX_DEPTH, Defect, parse_json, write_columns

SUITE = Path(__file__).parents[3] / "shared/data/dirty/json_test_suite"
FILES = sorted(SUITE.glob("*.json"))
needs_suite = pytest.mark.skipif(not FILES, reason=f"the JSON test suite is not at {SUITE}")


@needs_suite
def test_what_must_parse_parses_to_what_python_reads() -> None:
    files = [file for file in FILES if file.name.startswith("y_")]
    assert len(files) == 95
    refused = {}
    for file in files:
        try:
            assert parse_json(file.read_bytes()) == json.loads(file.read_bytes()), file.name
        except Defect as defect:
            refused[file.name] = defect.reason
    # valid by the grammar, though RFC 8259 says that names should be unique: a record's must be
    assert refused == {
        "y_object_duplicated_key.json": "duplicate_key",
        "y_object_duplicated_key_and_value.json": "duplicate_key",
    }


@needs_suite
def test_what_must_be_refused_is_refused_with_a_reason() -> None:
    files = [file for file in FILES if file.name.startswith("n_")]
    assert len(files) == 188
    for file in files:
        with pytest.raises(Defect) as caught:
            parse_json(file.read_bytes())
        assert caught.value.reason in ("invalid_json", "invalid_utf8"), file.name
        assert caught.value.detail


@needs_suite
def test_what_may_go_either_way_never_ends_in_another_error() -> None:
    files = [file for file in FILES if file.name.startswith("i_")]
    assert len(files) == 35
    for file in files:
        with contextlib.suppress(Defect):
            json.dumps(parse_json(file.read_bytes()), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"reward": NaN}', "invalid_json"),
        (b'{"reward": -Infinity}', "invalid_json"),
        (b'{"a": 1, "b": 2, "a": 1}', "duplicate_key"),
        (b'{"a": {"b": 1, "b": 2}}', "duplicate_key"),
        (b'{"a": "\xff"}', "invalid_utf8"),
        (b'{"a": "\\ud83d"}', "invalid_utf8"),
        (b'{"\\ude00": 1}', "invalid_utf8"),
        (b"[" * 100_000, "invalid_json"),
        (b"9" * 5000, "invalid_json"),
    ],
)
def test_each_trap_has_its_reason(text: bytes, reason: str) -> None:
    with pytest.raises(Defect) as caught:
        parse_json(text)
    assert caught.value.reason == reason


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_the_detail_names_the_key_and_the_place() -> None:
    with pytest.raises(Defect, match="'a' is given twice"):
        parse_json(b'{"a": 1, "a": 2}')
    with pytest.raises(Defect, match="at character 9"):
        parse_json(b'{"a": 1,}')
    with pytest.raises(Defect, match="byte 0xff at position 3"):
        parse_json(b'"a\xff"')


def test_columns_are_written_in_key_order_without_escapes() -> None:
    assert write_columns({"b": "é", "a": [1, None]}) == '{"a": [1, null], "b": "é"}'


def test_nan_in_a_column_becomes_null_and_infinity_is_refused() -> None:
    assert write_columns({"a": float("nan"), "b": [1.0, float("nan")]}) == '{"a": null, "b": [1.0, null]}'
    with pytest.raises(Defect, match="inf"):
        write_columns({"a": float("inf")})
    with pytest.raises(Defect, match="bytes"):
        write_columns({"a": b"raw"})


def test_columns_nested_too_deeply_for_a_reward_are_refused() -> None:
    def nested(depth: int) -> list[object]:
        return [nested(depth - 1)] if depth > 1 else []

    # the object of columns is one level itself: 63 lists below it make 64
    assert write_columns({"a": nested(MAX_DEPTH - 1)}).count("[") == MAX_DEPTH - 1
    with pytest.raises(Defect, match="nested deeper"):
        write_columns({"a": nested(MAX_DEPTH)})
