"""The whole demo in containers, beside the same demo in processes."""

import dataclasses
import json
from pathlib import Path

import pytest

from copg.run.summary import read_records
from copg.run.task_record import RUN, TaskRecord, read_json
from tests.containers.conftest import Run
from tests.containers.parity import Row, compare_runs, compare_tasks, unfinished, widest

pytestmark = pytest.mark.timeout(900)


def test_the_demo_runs_in_processes(outside: Run) -> None:
    assert outside.summary["failure"] is None
    assert unfinished(outside.root) == []


def test_the_demo_runs_in_containers_without_root_network_or_a_writable_root(inside: Run) -> None:
    log = Path(inside.summary["log"]).read_text()[-3000:]
    assert inside.summary["failure"] is None, f"{inside.summary['failure']}\n{log}"
    assert unfinished(inside.root) == []


def test_every_file_and_number_is_the_same_in_both(outside: Run, inside: Run, table: list[Row]) -> None:
    rows = compare_runs(outside.root, inside.root)
    table += rows
    digests = [row for row in rows if row.what in ("groups", "scored", "referenced", "policy", "evaluation")]
    assert len(digests) == 8  # groups, scored, referenced, two policies, and evaluations of three
    assert [str(row) for row in rows if not row.agrees] == []


def test_both_trained_with_as_many_threads_and_the_same_libraries(outside: Run, inside: Run) -> None:
    told = []
    for run in (outside, inside):
        records = read_records(run.root, read_json(run.root / RUN))
        facts = read_json(Path(records["train-copg_0.05"].outputs["training"]) / "manifest.json")["facts"]
        told.append((facts["threads"], read_json(run.root / RUN)["digests"]))  # of code and libraries too
    assert told[0] == told[1]


def test_what_a_manifest_tells_is_where_things_lie_and_otherwise_the_same(outside: Run, inside: Run) -> None:
    told = []
    for run in (outside, inside):
        records = read_records(run.root, read_json(run.root / RUN))
        path = Path(records["score"].outputs["scored"]) / "manifest.json"
        told.append(json.loads(path.read_text().replace(str(run.root), "ROOT")))
    assert told[0]["files"] == told[1]["files"]
    assert told[0]["config"] == told[1]["config"]
    assert told[0]["parents"] == told[1]["parents"]


def test_a_difference_is_seen(tmp_path: Path) -> None:
    # |1.0 - 1.1| / 1.1 = 0.0909...
    assert widest({"reward/mean": 1.0}, {"reward/mean": 1.1}) == (pytest.approx(0.1 / 1.1), "reward/mean")
    assert widest({"kl/mean": 1.0}, {}) == (float("inf"), "kl/mean")
    assert widest({"kl/mean": float("nan")}, {"kl/mean": 1.0})[0] == float("inf")
    assert widest({"kl/mean": float("nan")}, {"kl/mean": float("nan")})[0] == 0.0
    for name, digest in (("a", "1" * 64), ("b", "2" * 64)):
        manifest = {"schema": "scored", "stage": "score", "rows": 1, "digest": digest, "files": {"x": digest}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
    record = TaskRecord(
        stage="score", task="score", key="k", state="succeeded", outputs={"scored": str(tmp_path / "a")}
    )
    other = dataclasses.replace(
        record, outputs={"scored": str(tmp_path / "b")}, metrics={"tokens/per_s": 3.0}
    )
    assert [(row.what, row.agrees) for row in compare_tasks(record, other)] == [
        ("state", True),
        ("scored", False),
    ]
    assert all(row.agrees for row in compare_tasks(record, record))
