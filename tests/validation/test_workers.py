"""Workers give what the main process would, in the same order."""

import json
from pathlib import Path

import pytest

from copg.errors import RecordError
from copg.readers import Row
from copg.validation import portions as portions_module
from copg.validation.portions import portions
from copg.validation.workers import Workers


def lines(count: int) -> list[Row]:
    rows = [
        {"question": f"prompt {n}", "completions": [f"a{n}", "b"], "rewards": [n, 0.5]} for n in range(count)
    ]
    texts = [json.dumps(row).encode() if n % 7 else b'{"question": ' for n, row in enumerate(rows)]
    return [Row("a.jsonl", n, raw=text) for n, text in enumerate(texts, 1)]


def test_the_result_is_the_same_for_any_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions_module, "ROWS_PER_CHUNK", 13)
    columns = {"prompt": "question"}
    expected = list(portions(lines(200), columns, num_workers=0))
    assert sum(portion.num_rows for portion in expected) == 200
    for num_workers in (1, 2):
        found = list(portions(lines(200), columns, num_workers=num_workers))
        assert [p.num_rows for p in found] == [p.num_rows for p in expected]
        assert all(a.records.equals(b.records) for a, b in zip(found, expected, strict=True))
        assert all(a.defects.equals(b.defects) for a, b in zip(found, expected, strict=True))


def test_a_worker_that_dies_is_one_clear_error() -> None:
    with Workers({}, 1) as workers:
        answers = workers.map([lines(3)] * 50)
        next(answers)
        workers._processes[0].kill()
        with pytest.raises(RecordError, match="ended with exit code -9"):
            list(answers)


def test_an_abandoned_iteration_leaves_no_process() -> None:
    workers = Workers({}, 2)
    with workers:
        next(workers.map([lines(3)] * 5))
    assert [process.poll() is not None for process in workers._processes] == [True, True]


def test_chunks_end_at_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(portions_module, "BYTES_PER_CHUNK", 1000)
    rows = [Row("f", n, raw=b'"' + b"x" * 400 + b'"') for n in range(5)]
    # 402 bytes a line: the third of each chunk reaches 1,000
    assert [p.num_rows for p in portions(rows, {}, num_workers=0)] == [3, 2]
