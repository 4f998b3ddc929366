"""Reading files: every row with its file and line, every unusable file with one clear error."""

import gzip
import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from copg.data.bounds import Bounds
from copg.data.json_lines import Defect
from copg.data.readers import BOM, Rows
from copg.data.rows import Row
from copg.errors import RecordError


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def values(records: Path | str, **options: Any) -> list[Any]:
    return [row.parse() for row in Rows(str(records), **options)]


def places(records: Path | str, **options: Any) -> list[tuple[str, int]]:
    return [(row.file, row.line) for row in Rows(str(records), **options)]


def error(records: Path | str, **options: Any) -> str:
    with pytest.raises(RecordError) as caught:
        list(Rows(str(records), **options))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_json_lines_are_counted_from_one_and_blank_lines_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    assert values(path) == [{"a": 1}, {"a": 2}]
    assert places(path) == [("a.jsonl", 1), ("a.jsonl", 4)]


@pytest.mark.parametrize("sign", [";", "\t"])
def test_cells_stand_between_what_the_header_has_where_it_has_no_comma(sign: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'\ufeff\n"a {sign} b"{sign}c\n1,5{sign}x\n\n"2{sign}"{sign}y\n', encoding="utf-8")
    rows = Rows(str(path))
    assert [(row.line, row.parse()) for row in rows] == [
        (3, {f"a {sign} b": "1,5", "c": "x"}),
        (5, {f"a {sign} b": f"2{sign}", "c": "y"}),
    ]
    assert rows.told() == [f"read as cells between {sign!r}: a.csv"]


@pytest.mark.parametrize("said", ["sep={}", "SEP={}", '"sep={}"', '"sep={}"{}{}'])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_a_first_line_by_which_excel_is_told_what_separates_is_followed_and_no_header(
    sign: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    line = said.format(sign, *(2 * [sign if sign in ",;" else ""]))
    path.write_text(f"\ufeff{line}\r\na{sign}b\r\n1{sign}2\r\n", encoding="utf-8")
    assert values(path) == [{"a": "1", "b": "2"}]
    assert places(path) == [("a.csv", 3)]


def test_a_comma_in_the_header_is_what_separates(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,a;b\nx,1;2\n")
    (tmp_path / "b.csv").write_text("prompt\nx;y\n")
    rows = Rows(str(tmp_path))
    assert [row.parse() for row in rows] == [{"prompt": "x", "a;b": "1;2"}, {"prompt": "x;y"}]
    assert rows.told() == []


def test_a_line_that_cannot_be_parsed_is_a_row_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": 3}\n')
    rows = list(Rows(str(path)))
    assert [row.line for row in rows] == [1, 2, 3]
    with pytest.raises(Defect, match="invalid_json"):
        rows[1].parse()
    assert rows[1].raw == b'{"a": \n'


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_lines_read_like_plain_ones(tmp_path: Path, ending: str) -> None:
    plain = write(tmp_path / "plain/a.jsonl", *({"a": number} for number in range(10_000)))
    compress = gzip.compress if ending == ".gz" else zstandard.compress
    path = tmp_path / f"a.jsonl{ending}"
    half = len(plain.read_bytes()) // 2
    # two members one after the other are one file, as "cat a.gz b.gz" makes it
    path.write_bytes(compress(plain.read_bytes()[:half]) + compress(plain.read_bytes()[half:]))
    assert values(path) == values(plain)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_compressed_file_that_was_cut_off_is_an_error(tmp_path: Path, ending: str) -> None:
    plain = write(tmp_path / "a.jsonl", *({"a": number} for number in range(10_000))).read_bytes()
    path = tmp_path / f"a.jsonl{ending}"
    whole = gzip.compress(plain) if ending == ".gz" else zstandard.compress(plain)
    path.write_bytes(whole[:-100])
    assert "cannot be read to its end" in error(path)


def test_a_name_that_promises_compression_must_keep_it(tmp_path: Path) -> None:
    assert "is named .gz but does not hold gzip" in error(write(tmp_path / "a.jsonl.gz", {"a": 1}))
    path = tmp_path / "b.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert values(path) == [{"a": 1}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.csv"])
def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    assert error(path) == f"{path}: is a git-lfs pointer, not the data; fetch it with 'git lfs pull'"


def test_utf_16_and_endless_lines_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a": 1}'.encode("utf-16"))
    assert "is UTF-16" in error(path)
    path.write_text('{"a": 1}\n{"a": "' + "x" * 2**20 + '"}\n')
    assert f"{path}:2: a line of 1 MiB or more" in error(path, bounds=Bounds(max_line_bytes=2**20))


@pytest.mark.parametrize(("size", "num_lines"), [(1, 9), (7, 9), (16, 9), (16, 1), (2**20, 9), (2**20, 2)])
@pytest.mark.parametrize("end", ["", "\n"])
def test_blocks_of_any_size_hold_the_same_lines(tmp_path: Path, size: int, num_lines: int, end: str) -> None:
    bounds = Bounds(bytes_per_block=size, lines_per_block=num_lines)
    path = tmp_path / "a.jsonl"
    texts = ['\ufeff{"a": 1}', "", '{"a": 22}\r', " \t", '{"a": "é\u2028"}', '{"a": 4}']
    path.write_bytes(("\n".join(texts) + end).encode())
    rows = [(row.line, row.parse()["a"]) for row in Rows(str(path), bounds=bounds)]
    assert rows == [(1, 1), (3, 22), (5, "é\u2028"), (6, 4)]
    blocks = list(Rows(str(path), bounds=bounds).lines())
    assert b"".join(block.data for block in blocks) == path.read_bytes().removeprefix(BOM)
    assert max(len(BytesIO(block.data).readlines()) for block in blocks) <= num_lines


@pytest.mark.parametrize("size", [1, 8, 50])
@pytest.mark.parametrize(("length", "allowed"), [(29, True), (30, False), (31, False)])
def test_the_longest_line_is_one_limit_for_any_size_of_block(
    tmp_path: Path, size: int, length: int, allowed: bool
) -> None:
    bounds = Bounds(bytes_per_block=size, max_line_bytes=max(size, 30))
    path = tmp_path / "a.jsonl"
    long = max(size, 30) - 30 + length
    path.write_text("{}\n{}\n" + " " * long + "\n{}\n")
    if allowed:
        assert [row.line for row in Rows(str(path), bounds=bounds)] == [1, 2, 4]
    else:
        assert error(path, bounds=bounds).startswith(f"{path}:3: a line of ")


def test_parquet_rows_are_counted_from_one_through_all_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"prompt": [f"p{i}" for i in range(3000)], "completions": [["a", "b"]] * 3000})
    pq.write_table(table, path, row_group_size=700)
    rows = list(Rows(str(path)))
    assert [row.line for row in rows] == list(range(1, 3001))
    assert rows[2999].parse() == {"prompt": "p2999", "completions": ["a", "b"]}


def test_parquet_text_that_is_not_utf_8_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pa.array([b"good", b"b\xffd", b"good"], pa.binary()).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": broken}), path)
    rows = list(Rows(str(path)))
    assert [row.defect and row.defect.reason for row in rows] == [None, "invalid_utf8", None]


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read as Parquet" in error(path)


def test_a_csv_record_stands_on_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion\r\n"one\r\nprompt",a\r\n\r\ntwo,"say ""b"""\r\n')
    assert values(path) == [
        {"prompt": "one\r\nprompt", "completion": "a"},
        {"prompt": "two", "completion": 'say "b"'},
    ]
    assert places(path) == [("a.csv", 2), ("a.csv", 5)]


def test_csv_rows_with_cells_too_many_or_not_utf_8_are_rows_with_a_defect(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n1,2,3\n1,\xff\n")
    assert [row.defect and row.defect.reason for row in Rows(str(path))] == [
        None,
        "not_an_object",
        "invalid_utf8",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,"2\n3,4\n', ":2: the record that begins here is not CSV: unexpected end of data"),
        ('a,b\n1,2\n1,"2"3\n', ":3: the record that begins here is not CSV"),
        ("a,a\n1,2\n", ":1: the header names a column twice"),
    ],
)
def test_a_csv_that_cannot_be_trusted_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert f"{path}{message}" in error(path)


def test_a_header_of_many_columns_one_of_them_twice_is_a_short_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join([*map(str, range(100_000)), "7"]) + "\n")
    assert error(path) == f"{path}:1: the header names a column twice: '7'"
    path.write_text(",".join(["x" * 100_000] * 2) + "\n")
    assert len(error(path)) < len(str(path)) + 300


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {"a": 2})
    write(tmp_path / "a/z.ndjson", {"a": 1})
    write(tmp_path / ".hidden.jsonl", {"a": 9})
    write(tmp_path / "..data/b.jsonl", {"a": 9})
    (tmp_path / "LICENSE").write_text("not a record")
    assert places(tmp_path) == [("a/z.ndjson", 1), ("b.jsonl", 1)]


def test_a_pattern_picks_files_and_names_them_from_its_fixed_part(tmp_path: Path) -> None:
    write(tmp_path / "in/train-0.jsonl", {"a": 1})
    write(tmp_path / "in/train-1.jsonl", {"a": 2})
    write(tmp_path / "in/dev.jsonl", {"a": 3})
    assert places(tmp_path / "in/train-*.jsonl") == [("train-0.jsonl", 1), ("train-1.jsonl", 1)]
    assert len(places(f"{tmp_path}/**/*.jsonl")) == 3


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "no such file or folder" in error(tmp_path / "a.jsonl")
    assert "holds no file of records" in error(tmp_path)
    assert "holds no file of records" in error(tmp_path / "*.jsonl")
    other = tmp_path / "a.txt"
    other.write_text("a")
    assert "a file of records ends in one of ['.csv'" in error(other)


def test_bytes_done_reach_the_total(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000))
    write(tmp_path / "b.jsonl", {"a": 1})
    rows = Rows(str(tmp_path))
    assert rows.done_bytes == 0
    assert len(list(rows)) == 1001
    assert rows.done_bytes == rows.total_bytes == sum(f.stat().st_size for f in tmp_path.iterdir())


def test_a_saved_data_set_is_read_split_by_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": f"p{i}", "completions": ["a", "b"], "rewards": [0.0, 1.0]} for i in range(5)]
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(tmp_path / "one")
    assert values(tmp_path / "one") == rows
    datasets.DatasetDict({"train": dataset, "test": dataset.select([3])}).save_to_disk(tmp_path / "two")
    assert "use one of ['test', 'train']" in error(tmp_path / "two")
    assert values(tmp_path / "two", split="test") == rows[3:4]
    # an index made by select() stays in force: row 1 of the split is what was row 4
    assert places(tmp_path / "two", split="test") == [("two/test", 1)]


def test_a_saved_data_set_whose_offsets_point_out_of_its_memory_is_an_error(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"prompt": "seven b"}, {"prompt": "seven c"}]).save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    data, offsets = file.read_bytes(), struct.pack("<3i", 0, 7, 14)
    assert data.count(offsets) == 1
    file.write_bytes(data.replace(offsets, struct.pack("<3i", 0, 7, 1 << 30)))
    assert "set: cannot be read as Arrow: " in error(tmp_path / "set")


def test_a_data_set_that_the_hub_cannot_give_is_an_error() -> None:
    assert error("nobody/nothing").startswith("nobody/nothing: no such file, and no data set")


def test_a_row_that_has_a_defect_has_no_value() -> None:
    with pytest.raises(Defect):
        Row("a", 1, defect=Defect("invalid_utf8", "why")).parse()
