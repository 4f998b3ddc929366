"""A file of one JSON list, or of objects over several lines, is read item by item, in bounded memory."""

import gzip
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from copg.data.bounds import Bounds
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.errors import RecordError
from copg.stages.validate import ValidateConfig, validate_records

ROWS = [
    {"instruction": 'say "x]}" \\', "input": "", "output": "[{,"},
    {"instruction": "né\n\u2028", "input": "", "output": "b", "meta": {"tags": [[], {}, ["a"]]}},
    {"instruction": "c", "input": "d", "output": '\\\\"'},
]
SIZES = [1, 2, 7, 2**20]
"""Of blocks, so that texts, escapes and items are cut at every place."""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path, **bounds: int) -> list[tuple[int, Any]]:
    return [(row.line, row.parse()) for row in Rows(str(path), bounds=Bounds(**bounds))]


def error(path: Path, **bounds: int) -> str:
    with pytest.raises(RecordError) as caught:
        read(path, **bounds)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("around", [("", ""), ("\ufeff \n", "\n\n")])
def test_a_list_holds_what_its_items_hold(
    tmp_path: Path, size: int, indent: int | None, ascii_only: bool, around: tuple[str, str]
) -> None:
    text = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_only).join(around)
    path = write(tmp_path, text)
    assert read(path, bytes_per_block=size) == [*enumerate(ROWS, 1)]
    rows = Rows(str(path), bounds=Bounds(bytes_per_block=size))
    assert rows.told() == []
    assert sum(1 for block in rows.lines() for _ in block.rows()) == len(ROWS)
    assert rows.told() == ["read as one JSON list of records, numbered by their places: a.json"]


@pytest.mark.parametrize("size", SIZES)
def test_objects_over_several_lines_follow_each_other(tmp_path: Path, size: int) -> None:
    path = write(tmp_path, "\n".join(json.dumps(row, indent=2) for row in ROWS) + "\n")
    assert read(path, bytes_per_block=size) == [*enumerate(ROWS, 1)]
    rows = Rows(str(path))
    assert len(list(rows)) == len(ROWS)
    assert rows.told() == ["read as JSON objects over several lines, numbered by their places: a.json"]


@pytest.mark.parametrize(
    "text",
    [
        '{ "a": 1,\n  "b": [2]}\n{ "a": 3,\n  "b": []}\n',
        '{"a": 1, "b": [\n2\n]}\n{"a": 3, "b": []}',
        '{"a": 1, "b":\n[2]\n}{"a": 3, "b": []}\n',
    ],
)
def test_an_object_goes_on_below_its_first_line_wherever_that_ends(tmp_path: Path, text: str) -> None:
    rows = [{"a": 1, "b": [2]}, {"a": 3, "b": []}]
    for size in SIZES:
        assert read(write(tmp_path, text), bytes_per_block=size) == [*enumerate(rows, 1)]
    path = write(tmp_path, '{"messages": [\n  {"role": "user"},\n  {"role": "assistant"}]}\n')
    assert read(path) == [(1, {"messages": [{"role": "user"}, {"role": "assistant"}]})]


@pytest.mark.parametrize("first", ["{", '{"a": 1,', '{"a": [', '{"a": [1,', '{"a": "x', '{"a": "x,'])
def test_a_broken_first_line_swallows_no_other(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{first}\n{{"a": 1}}\n')
    rows = list(Rows(str(path)))
    assert [(row.line, row.raw) for row in rows] == [(1, f"{first}\n".encode()), (2, b'{"a": 1}\n')]


@pytest.mark.parametrize("first", ["[]", "[ ] ", "[1]", '["a", []]'])
def test_a_list_by_itself_costs_its_line_alone_among_lines_of_objects(tmp_path: Path, first: str) -> None:
    path = write(tmp_path, f'{first}\n{{"a": 1}}\n{{"a": 2}}\n')
    assert read(path)[1:] == [(2, {"a": 1}), (3, {"a": 2})]
    assert type(read(path)[0][1]) is list
    assert Rows(str(path)).told() == []


def test_a_list_of_records_before_lines_of_objects_is_refused_whole(tmp_path: Path) -> None:
    told = "goes on after the list that it begins with: '{\"a\": 2}'; one list is read"
    assert error(write(tmp_path, '[{"a": 1}]\n{"a": 2}\n')) == told


def test_a_list_in_a_compressed_file_of_any_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    assert [row for _, row in read(path)] == ROWS
    path.write_bytes(gzip.compress(json.dumps(ROWS * 99).encode())[:-20])
    assert "cannot be read to its end" in error(path)


@pytest.mark.parametrize("size", SIZES)
def test_an_item_that_is_no_record_costs_itself_alone(tmp_path: Path, size: int) -> None:
    texts = ['{"a": 1}', '{"a": 1, "a": 2}', "3", '{"a": }', '{"a": "x\ny"}', "NaN", "nope", '{"a": 8}']
    path = write(tmp_path, f"[{', '.join(texts)}]".encode() + b"\n")
    found = []
    for row in Rows(str(path), bounds=Bounds(bytes_per_block=size)):
        try:
            found.append(row.parse())
        except Defect as defect:
            found.append(defect.reason)
    broken = "invalid_json"
    assert found == [{"a": 1}, "duplicate_key", 3, broken, broken, broken, broken, {"a": 8}]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1}, {"a"', "the list that it is does not end: the file does, with item 2"),
        ('[{"a": "x}, {"b": "y"}]', "the list that it is does not end: the file does, with item 1"),
        ('[{"a": 1},]', "item 2 of its list is missing: there is a comma too many"),
        ('[,{"a": 1}]', "item 1 of its list is missing: there is a comma too many"),
        ('[{"a": 1},\f]', "item 2 of its list is missing: it is white space that JSON has not"),
        ('[\v,{"a": 1}]', "item 1 of its list is missing: it is white space that JSON has not"),
        ('[{"a": 1}}]', "item 1 of its list closes more brackets than it opens"),
        ("[1]\f", "goes on after the list that it begins with: '\\x0c'; one list is read"),
        ("[1]\n\n[2]", "goes on after the list that it begins with: '[2]'; one list is read"),
    ],
)
def test_a_list_that_is_none_is_one_clear_line(tmp_path: Path, size: int, text: str, says: str) -> None:
    found = error(write(tmp_path, text), bytes_per_block=size)
    assert found == says if size > 2 else found.startswith(says[:40])


def test_an_empty_list_holds_no_row_and_an_item_has_a_bounded_length(tmp_path: Path) -> None:
    assert read(write(tmp_path, "[ \n ]")) == []
    long = '[{}, {"a": "' + "x" * 2**20 + '"}, {}]'
    bounds = {"bytes_per_block": 2**10, "max_line_bytes": 2**19}
    assert error(write(tmp_path, long), **bounds) == "item 2 has 0 MiB or more"
    assert len(read(tmp_path / "a.json", bytes_per_block=2**10)) == 3


def test_memory_is_that_of_a_block_and_a_long_text_is_gone_through_a_few_times_only(tmp_path: Path) -> None:
    path = write(
        tmp_path, "[" + ",".join(['{"prompt": "p", "completion": "' + "x" * 1000 + '"}'] * 6000) + "]"
    )
    tracemalloc.start()
    try:
        assert sum(len(block.data) for block in Rows(str(path), bounds=Bounds(bytes_per_block=2**14)).lines())
        assert tracemalloc.get_traced_memory()[1] < 2**22 < path.stat().st_size
    finally:
        tracemalloc.stop()
    path.write_text('[{"a": "' + "\\\\" * 2 * 10**6 + '"}]')
    began = time.process_time()
    assert len(list(Rows(str(path), bounds=Bounds(bytes_per_block=2**12)).lines())) == 1
    assert time.process_time() - began < 2.0


def test_workers_read_a_list_as_this_process_does(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(ROWS * 20))
    rows = Rows(str(path), bounds=Bounds(bytes_per_block=500))
    here, there = (list(portions(rows, Reading(), num_workers=count)) for count in (0, 1))
    assert len(here) > 3
    assert [p.records.to_pylist() for p in here] == [p.records.to_pylist() for p in there]


def test_validate_reads_a_list_says_so_and_names_what_it_rejects_by_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"i{n}", "input": "", "chosen": "a", "rejected": "b"} for n in range(40)]
    path = write(tmp_path, json.dumps([*rows, {"instruction": 3}], indent=1))
    config = ValidateConfig(max_rejected_fraction=1.0, min_held_out=1)
    metrics = validate_records(config, str(path), tmp_path / "groups")
    assert metrics["groups/count"] == 40
    assert capsys.readouterr().err.splitlines()[:2] == [
        "read as one JSON list of records, numbered by their places: a.json",
        "read as: Alpaca's instructions, with their inputs below them, 40 records",
    ]
    (entry,) = map(json.loads, (tmp_path / "groups/rejected.jsonl").read_text().splitlines())
    assert (entry["file"], entry["line"], entry["reason"]) == ("a.json", 41, "missing_field")
