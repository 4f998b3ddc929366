import json
import os
from pathlib import Path

import fsspec
import pytest

from copg.errors import RewardError
from copg.progress import warn
from copg.run.machine import MACHINE, write_machine
from copg.run.recording import recorded
from copg.run.summary import write_summary
from copg.run.task_names import subject_name, task_key
from copg.run.task_record import RUN, TaskRecord, read_record, record_path
from copg.stores.sealed import read_sealed, write_sealed
from tests.object_store import ObjectStore

PLAN = {"key": "ab" * 32, "config": {}}


class Metrics:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.logged: dict[str, float] = {}

    def log_metric(self, metric: str, value: float) -> None:
        self.logged[metric] = value


def test_a_subject_is_called_by_its_name_or_by_method_and_beta() -> None:
    assert subject_name({"name": "big", "method": "ipo", "beta": 1.0}) == "big"
    assert subject_name({"method": "copg", "beta": 0.05}) == "copg_0.05"
    assert subject_name({"beta": 1.0}) == "copg_1"


def test_whole_numbers_that_a_pipeline_made_floats_keep_the_key() -> None:
    assert task_key("k", {"seed": 1}) == task_key("k", {"seed": 1.0}) != task_key("k", {"seed": 2})
    assert task_key("k", None) == "k"


def test_a_stage_that_ends_well_leaves_its_seconds_metrics_and_outputs(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps({"run": "r1"}))
    metrics = Metrics(tmp_path / "metrics")
    trial = {"method": "copg", "beta": 0.5}
    with recorded("train", PLAN, str(tmp_path), subject=trial) as record:
        path = record_path(tmp_path, "train-copg_0.5", task_key(PLAN["key"], trial))
        assert read_record(path).state == "running"
        record.measured({"reward/mean": 1.5, "kl/mean": float("nan")}, metrics)
        record.outputs["policy"] = "/somewhere"
    found = read_record(path)
    assert (found.state, found.run, found.outputs) == ("succeeded", "r1", {"policy": "/somewhere"})
    assert found.metrics == {"reward/mean": 1.5, "kl/mean": "nan"}
    assert metrics.logged == {"reward/mean": 1.5}, "a pipeline's metric must be finite"
    assert Path(metrics.path).is_file(), "without a file the local cache never answers"


def test_what_a_task_warned_of_stands_in_its_record_and_in_the_summary_however_it_ended(
    tmp_path: Path,
) -> None:
    tasks = [
        {"task": stage, "stage": stage, "subject": None, "key": PLAN["key"]} for stage in ("score", "report")
    ]
    write_sealed(tmp_path / RUN, {"run": "r1", "name": "x", "tasks": tasks})
    with recorded("score", PLAN, str(tmp_path)) as record:
        record.warnings = ["score: 3 ties"]  # of its artifact
        for _ in range(2):
            warn("a folder cannot be locked")

    def failing() -> None:
        with recorded("report", PLAN, str(tmp_path)):
            warn("a page is damaged")
            raise RewardError("no more")

    with pytest.raises(SystemExit):
        failing()
    warn("of nobody")
    assert write_summary(tmp_path, succeeded=False)["warnings"] == [
        "score: 3 ties",
        "score: a folder cannot be locked",
        "report: a page is damaged",
    ]


def test_a_users_mistake_ends_with_its_line_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, recorded("score", PLAN, str(tmp_path)):
        raise RewardError("reward='x' is unknown")
    assert stop.value.code == 1
    found = read_record(record_path(tmp_path, "score", PLAN["key"]))
    assert (found.state, found.message) == ("failed", "reward='x' is unknown")
    assert capsys.readouterr().err == "error: score: reward='x' is unknown\n"


def test_a_bug_is_recorded_and_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), recorded("score", PLAN, str(tmp_path)):
        raise ZeroDivisionError("division by zero\nand more")
    assert (
        read_record(record_path(tmp_path, "score", PLAN["key"])).message
        == "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("stage", "subject", "threads"),
    [
        ("score", None, "8"),  # alone on the machine
        ("train", {"name": "a"}, "4"),  # three trials, two at once: 8 // 2
        ("evaluate", {"name": "a"}, "4"),
        ("evaluate", {"name": "reference"}, "8"),  # the only baseline
    ],
)
def test_tasks_that_run_at_once_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, subject: dict[str, str] | None, threads: str
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "99")
    write_machine(tmp_path, cores=8, tasks_at_once=2)
    tasks = [
        {"task": f"{stage_}-{name}", "stage": stage_, "subject": {"name": name}, "loop": loop}
        for loop, names in (("trials", "abc"), ("baselines", ["reference"]))
        for name in names
        for stage_ in ("train", "evaluate")
        if not (loop == "baselines" and stage_ == "train")
    ]
    (tmp_path / RUN).write_text(json.dumps({"run": "r", "tasks": tasks}))
    with recorded(stage, PLAN, str(tmp_path), subject=subject):
        assert os.environ["OMP_NUM_THREADS"] == threads
    # as on a cluster, whose volume got a copy of this directory
    said = read_sealed(tmp_path / MACHINE, remedy="")
    write_sealed(tmp_path / MACHINE, {**said, "machine": "another"})
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    with recorded(stage, PLAN, str(tmp_path), subject=subject):
        assert os.environ["OMP_NUM_THREADS"] == "99"


class Artifact:
    def __init__(self, path: Path, digest: str = "") -> None:
        self.path = self.uri = str(path)
        if digest:
            path.mkdir(exist_ok=True)
            (path / "manifest.json").write_text(json.dumps({"digest": digest}))


def test_a_task_that_was_done_on_the_same_inputs_hands_on_what_it_left(tmp_path: Path) -> None:
    groups = Artifact(tmp_path / "groups", "g")

    def score(
        name: str, plan: dict[str, object] = PLAN, taken: Artifact = groups
    ) -> tuple[bool, str, Metrics]:
        """Whether it worked, where its artifact lies, and its metrics."""
        scored, metrics = Artifact(tmp_path / name), Metrics(tmp_path / f"{name}.metrics")
        given = {"inputs": {"groups": taken}, "outputs": {"scored": scored}, "metrics": metrics}
        with recorded("score", plan, str(tmp_path), **given) as record:
            if record.answers:
                return False, scored.uri, metrics
            Artifact(Path(scored.path), "s")
            record.measured({"reward/mean": 0.5}, metrics)
        return True, scored.uri, metrics

    first = str(tmp_path / "first")
    (tmp_path / RUN).write_text(json.dumps({"run": "r1"}))
    assert score("first")[:2] == (True, first)
    (tmp_path / RUN).write_text(json.dumps({"run": "r2"}))
    worked, address, metrics = score("second")
    assert (worked, address, metrics.logged) == (False, first, {"reward/mean": 0.5})
    assert Path(metrics.path).is_file()
    path = record_path(tmp_path, "score", PLAN["key"])
    assert read_record(path).run == "r1", "it is still the work of the earlier run"

    assert score("other", taken=Artifact(tmp_path / "others", "h"))[0], "other groups under the same key"
    assert score("again")[0], "the record is now that of the other groups"
    assert score("asked", {**PLAN, "renewal": "x"})[0]
    (tmp_path / "asked/manifest.json").unlink()
    assert score("gone")[0], "what it left is gone"


def test_an_artifact_of_another_store_or_one_that_nobody_can_look_at_is_not_handed_on(tmp_path: Path) -> None:
    far = TaskRecord(stage="score", task="score", key="k", state="succeeded")
    far.outputs["scored"] = "memory://bucket/scored"
    assert not far.answers
    with fsspec.open("memory://bucket/scored", "w") as file:
        file.write("")
    assert far.answers
    here = Artifact(tmp_path / "scored")
    assert not far.hand_on({"scored": here}, None)
    assert here.uri == str(tmp_path / "scored")
    far.outputs["scored"] = "nowhere://bucket/scored"
    assert not far.answers


def test_in_an_object_store_a_new_task_gets_a_copy_under_its_own_address(
    tmp_path: Path, store: ObjectStore
) -> None:
    store.put("first/scored/train.parquet", b"groups")
    store.put("first/scored/manifest.json", b"{}")
    store.put("first/scored-docs/other.html", b"not of it")
    store.put("first/card", b"a file")
    known = TaskRecord(stage="score", task="score", key="k", state="succeeded")
    known.outputs = {name: f"minio://{store.bucket}/first/{name}" for name in ("scored", "card")}
    artifacts = {name: Artifact(tmp_path / name) for name in known.outputs}
    for name, artifact in artifacts.items():
        artifact.uri = f"minio://{store.bucket}/second/{name}"
    assert known.hand_on(artifacts, None)
    # KFP's launcher refuses an output outside of its run's root, and takes one without a local file
    assert artifacts["scored"].uri == f"minio://{store.bucket}/second/scored"
    assert not (tmp_path / "scored").exists()
    copies = {"second/card": b"a file", "second/scored/manifest.json": b"{}"}
    assert store.objects("second/") == {**copies, "second/scored/train.parquet": b"groups"}

    store.delete("first/scored/manifest.json")
    assert not known.hand_on(artifacts, None), "without its manifest it is not finished"


def test_without_the_keys_of_the_store_a_task_works_again(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("kept/scored/manifest.json", b"{}")
    known = TaskRecord(stage="score", task="score", key="k", state="succeeded")
    known.outputs = {"scored": f"minio://{store.bucket}/kept/scored"}
    assert known.answers
    store.forget_keys(monkeypatch)
    assert not known.answers
