"""Workers give what the main process would, in the same order."""

import json
from pathlib import Path

import pytest

from copg.data import portions as portions_module
from copg.data import readers
from copg.data.portions import portions
from copg.data.readers import Lines, Rows
from copg.data.workers import Workers
from copg.errors import RecordError

LINES = Lines("a.jsonl", 1, b'{"prompt": "p", "completions": ["a"]}\n' * 3)


def write_lines(path: Path, count: int) -> str:
    rows = [
        {"question": f"prompt {n}", "completions": [f"a{n}", "b"], "rewards": [n, 0.5]} for n in range(count)
    ]
    texts = [json.dumps(row) if n % 7 else '{"question": ' for n, row in enumerate(rows)]
    path.write_text("\n".join(texts))
    return str(path)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BYTES_PER_BLOCK", 500)


@pytest.mark.usefixtures("small_blocks")
def test_the_result_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    columns = {"prompt": "question"}
    rows = Rows(write_lines(tmp_path / "a.jsonl", 200))
    expected = list(portions(rows, columns, num_workers=0))
    assert len(expected) > 20
    assert sum(portion.num_rows for portion in expected) == 200
    for num_workers in (1, 2):
        found = list(portions(rows, columns, num_workers=num_workers))
        assert [p.num_rows for p in found] == [p.num_rows for p in expected]
        assert all(a.records.equals(b.records) for a, b in zip(found, expected, strict=True))
        assert all(a.defects.equals(b.defects) for a, b in zip(found, expected, strict=True))


def test_a_worker_that_dies_is_one_clear_error() -> None:
    with Workers({}, 1) as workers:
        answers = workers.map([LINES] * 50)
        next(answers)
        workers._processes[0].kill()
        with pytest.raises(RecordError, match="ended with exit code -9"):
            list(answers)


def test_an_abandoned_iteration_leaves_no_process() -> None:
    workers = Workers({}, 2)
    with workers:
        next(workers.map([LINES] * 5))
    assert [process.poll() is not None for process in workers._processes] == [True, True]


def test_rows_of_other_kinds_come_in_chunks_and_need_no_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(portions_module, "ROWS_PER_CHUNK", 3)
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\n" + "p,c\n" * 5)
    assert [p.records.num_rows for p in portions(Rows(str(path)), {}, num_workers=2)] == [3, 2]


def test_lines_beside_files_of_another_kind_come_in_chunks_of_bounded_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(portions_module, "BYTES_PER_CHUNK", 1000)
    (tmp_path / "a.jsonl").write_text(('"' + "x" * 399 + '"\n') * 5)
    (tmp_path / "b.csv").write_text("prompt,completion\np,c\n")
    # 402 bytes a line: the third of each chunk reaches 1,000
    assert [p.num_rows for p in portions(Rows(str(tmp_path)), {}, num_workers=2)] == [3, 3]
