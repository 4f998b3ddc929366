"""Workers give what the main process would, in the same order."""

import json
from pathlib import Path

import psutil
import pytest

from copg.data.bounds import Bounds
from copg.data.found import Reading
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.errors import RecordError


def write_lines(path: Path, count: int) -> str:
    rows = [
        {"question": f"prompt {n}", "completions": [f"a{n}", "b"], "rewards": [n, 0.5]} for n in range(count)
    ]
    texts = [json.dumps(row) if n % 7 else '{"question": ' for n, row in enumerate(rows)]
    path.write_text("\n".join(texts))
    return str(path)


def test_the_result_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    columns = {"prompt": "question"}
    rows = Rows(write_lines(tmp_path / "a.jsonl", 200), bounds=Bounds(bytes_per_block=500))
    expected = list(portions(rows, Reading(columns), num_workers=0))
    assert len(expected) > 20
    assert sum(portion.num_rows for portion in expected) == 200
    for num_workers in (1, 2):
        found = list(portions(rows, Reading(columns), num_workers=num_workers))
        assert [p.num_rows for p in found] == [p.num_rows for p in expected]
        assert all(a.records.equals(b.records) for a, b in zip(found, expected, strict=True))
        assert all(a.defects.equals(b.defects) for a, b in zip(found, expected, strict=True))


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "copg.data.portions" in " ".join(p.cmdline())]


def test_a_worker_that_dies_is_one_clear_error(tmp_path: Path) -> None:
    rows = Rows(write_lines(tmp_path / "a.jsonl", 2000), bounds=Bounds(bytes_per_block=500))
    found = portions(rows, Reading(), num_workers=1)
    next(found)
    (worker,) = children()
    worker.kill()
    with pytest.raises(
        RecordError, match="a process that parses records ended with exit code -9; workers=0 needs none"
    ):
        list(found)


def test_an_abandoned_iteration_leaves_no_process(tmp_path: Path) -> None:
    rows = Rows(write_lines(tmp_path / "a.jsonl", 200), bounds=Bounds(bytes_per_block=500))
    found = portions(rows, Reading(), num_workers=2)
    next(found)
    assert children()
    found.close()
    assert children() == []


def test_rows_of_other_kinds_come_in_chunks_and_need_no_workers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\n" + "p,c\n" * 5)
    rows = Rows(str(path), bounds=Bounds(rows_per_chunk=3))
    assert [p.records.num_rows for p in portions(rows, Reading(), num_workers=2)] == [3, 2]


def test_lines_beside_files_of_another_kind_come_in_chunks_of_bounded_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(('"' + "x" * 399 + '"\n') * 5)
    (tmp_path / "b.csv").write_text("prompt,completion\np,c\n")
    rows = Rows(str(tmp_path), bounds=Bounds(bytes_per_chunk=1000))
    # 402 bytes a line: the third of each chunk reaches 1,000
    assert [p.num_rows for p in portions(rows, Reading(), num_workers=2)] == [3, 3]
