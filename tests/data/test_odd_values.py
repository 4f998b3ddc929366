"""Values that a table or a line may hold and a record may not: refused by line, in bounded time and words."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copg.data.found import Reading
from copg.data.json_lines import MAX_DETAIL
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.errors import RecordError
from copg.records import MOST_MARKS, prompt_id
from copg.rewards.words import words

MOST_S = 2.0
"""Of the processor, for one line whatever it holds."""


def read(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records, and what is said of rows that are none."""
    (portion,) = portions(Rows(str(path)), Reading(), num_workers=0)
    return portion.records.to_pylist(), portion.defects.to_pylist()


def write(path: Path, *columns: tuple[str, pa.Array]) -> Path:
    size = len(columns[0][1])
    plain = [("prompt", pa.array(["p"] * size)), ("completion", pa.array(["a"] * size))]
    names, arrays = zip(*plain, *columns, strict=True)
    pq.write_table(pa.Table.from_arrays(list(arrays), names=list(names)), path)
    return path


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([0, 2**60], pa.int64()).view(pa.timestamp("us")), "no value of timestamp[us]"),
        (pa.array([0, 2**30], pa.int32()).view(pa.date32()), "no value of date32[day]"),
        (pa.array([0, 2**62], pa.int64()).view(pa.duration("s")), "no value of duration[s]"),
        (
            pa.array([[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
            "a key of a map is given twice",
        ),
        (pa.array([[(b"a", 1)][:0], [(b"a", 1)]], pa.map_(pa.binary(), pa.int64())), "keys that are no text"),
    ],
    ids=["timestamp", "date", "duration", "key_twice", "binary_key"],
)
def test_a_value_that_no_record_can_hold_refuses_its_row_alone(
    tmp_path: Path, column: pa.Array, said: str
) -> None:
    records, defects = read(write(tmp_path / "a.parquet", ("when", column)))
    assert [record["source"] for record in records] == ["a.parquet:1"]
    (defect,) = defects
    assert defect["source"] == "a.parquet:2"
    assert said in defect["detail"]


def test_a_map_is_an_object_as_in_a_line_of_json(tmp_path: Path) -> None:
    column = pa.array([[("b", 1.5), ("a", None)]], pa.map_(pa.string(), pa.float64()))
    (record,), _ = read(write(tmp_path / "a.parquet", ("extra", column)))
    assert json.loads(record["columns"]) == {"extra": {"a": None, "b": 1.5}}


@pytest.mark.parametrize(
    ("name", "column", "twice"),
    [
        ("prompt", pa.array(["other"]), "prompt"),
        ("x", pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), "x.a"),
    ],
    ids=["column", "in_a_struct"],
)
def test_a_name_that_stands_twice_in_a_table_is_refused(
    tmp_path: Path, name: str, column: pa.Array, twice: str
) -> None:
    path = write(tmp_path / "a.parquet", (name, column))
    with pytest.raises(RecordError, match=rf"a\.parquet: names a column twice: '{twice}'"):
        read(path)


def test_rewards_whose_square_no_loss_can_hold_are_counted_as_not_finite(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completions": ["a", "b"], "rewards": [0, size]} for size in (1e15, 1e16, -1e308)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records, _ = read(tmp_path / "a.jsonl")
    assert [record["rewards_nonfinite"] for record in records] == [0, 1, 1]


WIDE = 10**5
HOSTILE = {
    "marks": {"prompt": "a" + "\u0301\u0316" * 500_000, "completions": ["b", "c"]},
    "columns": {f"c{number}": "text" for number in range(WIDE)},
    "rewards": {"prompt": "p", "completion": "a", **{f"score_{number}": 1.0 for number in range(WIDE)}},
    "name": {"n" * 10**6: 1},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_costs_seconds_and_a_thousand_characters_whatever_it_holds(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(HOSTILE[name], ensure_ascii=False) + "\n")
    began = time.process_time()
    records, defects = read(tmp_path / "a.jsonl")
    assert time.process_time() - began < MOST_S
    assert len(records) + len(defects) == 1
    assert all(len(defect["detail"]) <= MAX_DETAIL + len(" (cut)") for defect in defects)
    assert all(len(record["unused"] or "") < 2 * MAX_DETAIL for record in records)


def test_a_key_that_stands_twice_among_a_hundred_thousand_is_named_at_once(tmp_path: Path) -> None:
    keys = ", ".join(f'"k{number}": 1' for number in range(WIDE))
    (tmp_path / "a.jsonl").write_text(f'{{{keys}, "k{WIDE - 1}": 2}}\n')
    began = time.process_time()
    _, (defect,) = read(tmp_path / "a.jsonl")
    assert time.process_time() - began < MOST_S
    assert defect["detail"] == f"'k{WIDE - 1}' is given twice"


def test_forms_of_unicode_are_equal_as_long_as_their_marks_can_be_sorted() -> None:
    assert prompt_id("e\u0301") == prompt_id("\u00e9")
    assert words("\ufb01n") == ["fin"]
    few, many = ("\u0301" * count + "a" * MOST_MARKS for count in (MOST_MARKS, MOST_MARKS + 1))
    assert prompt_id("e" + few) == prompt_id("\u00e9" + few[1:])
    assert prompt_id("e" + many) != prompt_id("\u00e9" + many[1:])
