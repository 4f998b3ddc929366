"""``explain-cache``: what would run, and why; the runs are real."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags import DAGS
from copg_pipelines.explain_cache import Forecast, explain_local
from fsspec.registry import _registry as known_stores
from safetensors.torch import load_file, save_file

from copg.run import champion
from copg.run.recipe import load_recipe
from copg.run.resolve import ResolveConfig, resolve_recipe
from copg.run.task_record import RUN, TaskRecord, read_json, write_record
from copg.stores.addresses import copy_artifact
from copg.tracking.registry import RegisteredVersion
from tests import tiny
from tests.evaluations import make_policy
from tests.object_store import ObjectStore
from tests.pipelines.command import IMAGE, Command
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.test_growing import SHORT

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}],
}


@pytest.fixture
def data(tmp_path: Path, reference_dir: Path) -> Path:
    shutil.copytree(reference_dir, tmp_path / "model")
    tiny.write_records(tmp_path / "records.jsonl", 8, 3)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


@pytest.fixture
def root(data: Path) -> Path:
    """Directory of a run that succeeded: resolved for real, with the records its tasks would have left."""
    root = data / "runs"
    found = resolve_recipe(ResolveConfig(recipe=recipe_of(data), run_dir=str(root)))
    run = read_json(root / RUN)["run"]
    for task in found.tasks:
        fields = {name: task[name] for name in ("stage", "task", "key", "subject")}
        write_record(root, TaskRecord(**fields, run=run, state="succeeded"))
    return root


def recipe_of(data: Path, *sets: str) -> Any:
    return load_recipe(data / "recipe.yaml", sets, here=data)


def why(forecasts: list[Forecast]) -> dict[str, tuple[str, ...]]:
    return {each.task: each.why for each in forecasts if not each.reused}


def test_nothing_changed_and_everything_is_reused(data: Path, root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    forecasts = explain_local("align", recipe_of(data), root)
    assert [each.task for each in forecasts] == [
        "validate",
        "score",
        "reference",
        "evaluate-reference",
        "train-copg_0.1",
        "evaluate-copg_0.1",
        "train-ipo_1",
        "evaluate-ipo_1",
        "report",
        "promote",
    ]
    assert all(each.reused for each in forecasts)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_champion_in_an_object_store_is_looked_at_where_it_lies(
    data: Path, store: ObjectStore, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, policy = f"minio://{store.bucket}/champions/1", data / "policy"
    promoted = RegisteredVersion("1", address, make_policy(policy, "champion").digest, {})
    monkeypatch.setattr(champion, "champion", lambda *given: promoted)
    copy_artifact(str(policy), address)
    root = request.getfixturevalue("root")
    monkeypatch.delitem(known_stores, "minio")  # as of a process that has run no task
    forecasts = explain_local("align", recipe_of(data), root)
    assert "evaluate-champion" in [each.task for each in forecasts if each.reused]
    assert why(forecasts) == {}


def test_a_setting_of_the_training_is_named_with_both_values(data: Path, root: Path) -> None:
    found = why(explain_local("align", recipe_of(data, "train.optimizer.learning_rate=0.5"), root))
    assert set(found) == {
        "train-copg_0.1",
        "evaluate-copg_0.1",
        "train-ipo_1",
        "evaluate-ipo_1",
        "report",
        "promote",
    }
    (changed,) = found["train-ipo_1"]
    assert changed.startswith("train.optimizer.learning_rate ")
    assert changed.endswith(" -> 0.5")
    assert found["evaluate-ipo_1"] == ("after train",)
    assert found["report"] == ("after evaluate",)


def test_other_records_behind_the_same_name_change_everything(data: Path, root: Path) -> None:
    with (data / "records.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "the cat", "completions": ["sat", "ran"]}) + "\n")
    found = why(explain_local("align", recipe_of(data), root))
    assert len(found) == 10
    assert found["validate"][0].startswith("data ")
    assert found["score"] == ("after validate",)
    assert found["evaluate-reference"] == ("after score",)


def test_other_weights_leave_validation_and_scores(data: Path, root: Path) -> None:
    (weights,) = (data / "model").glob("*.safetensors")
    held = load_file(weights)
    save_file({name: each + 1e-3 for name, each in held.items()}, weights, metadata={"format": "pt"})
    found = why(explain_local("align", recipe_of(data), root))
    assert {"validate", "score"} & set(found) == set()
    assert any(each.startswith("model ") for each in found["reference"])


def test_other_code_of_a_stage_is_told(data: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from copg.run import resolve

    real = resolve._code
    monkeypatch.setattr(resolve, "_code", lambda stage, at: "edited" if stage == "score" else real(stage, at))
    found = why(explain_local("align", recipe_of(data), root))
    assert found["score"][0].startswith("code/score ")
    assert found["score"][0].endswith(" -> edited")
    assert "validate" not in found


def test_a_new_trial_runs_alone_and_the_others_are_reused(data: Path, root: Path) -> None:
    values = {**RECIPE, "trials": [*RECIPE["trials"], {"method": "copg", "beta": 0.5}]}
    (data / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert why(explain_local("align", recipe_of(data), root)) == {
        "train-copg_0.5": ("the trial is new",),
        "evaluate-copg_0.5": ("the trial is new", "after train"),
        "report": ("the list of trials", "after evaluate"),
        "promote": ("the list of trials", "after evaluate"),
    }


def test_what_failed_or_never_ran_in_the_latest_run_is_told_apart(data: Path, root: Path) -> None:
    run = read_json(root / RUN)
    for task in run["tasks"]:
        path = root / "stages" / f"{task['task']}-{task['key'][:12]}.json"
        if task["task"] == "train-ipo_1":
            record = read_json(path)
            path.write_text(json.dumps({**record, "state": "failed", "message": "disk full"}))
        elif task["task"] in ("evaluate-ipo_1", "report", "promote"):
            path.unlink()
    found = why(explain_local("align", recipe_of(data), root))
    assert found["train-ipo_1"] == ("nothing changed, but it failed: disk full",)
    assert found["report"] == ("nothing changed, but the latest run did not get to it",)
    assert len(found) == 4


def test_the_command_prints_a_line_a_task(data: Path, root: Path, command: Command) -> None:
    words = ("explain-cache", "align", "-r", str(data / "recipe.yaml"), "--run-dir", str(root))
    done = command(*words, "--set", "promote.max_kl=3", host=False)
    assert done.code == 0, done.error
    assert "validate                     reused" in done.out
    assert "promote                      runs: promote.max_kl " in done.out
    assert done.out.rstrip().endswith("8 of 10 tasks are reused")  # the report draws the bound
    nowhere = command(*words[:4], "--run-dir", str(data / "gone"), host=False)
    assert "no run has been there" in nowhere.why


def test_against_a_server_what_the_dag_itself_gives_a_task_is_compared(
    command: Command, server: KfpServer
) -> None:
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED"})]}
    nodes = ("--set", "placement.stages.train.nodes=2")
    taint = "placement.stages.train.tolerations=[{key: spot, operator: Exists}]"
    command.with_recipe("run", "align", "--on", "cluster", "--poll", "0.01", *nodes)

    def explain(*words: str) -> dict[str, str]:
        words = ("-r", str(command.recipe), "--image", IMAGE, *words)
        done = command("explain-cache", "align", "--on", "cluster", *words)
        assert done.code == 0, done.error
        return {line.split()[0]: line for line in done.out.splitlines()}

    assert explain(*nodes)["train-copg_0.05"].endswith("reused")
    tolerant = explain(*nodes, "--set", taint)
    assert "train.train_job.spec.runtimePatches.0." in tolerant["train-copg_0.05"]
    assert tolerant["train-copg_0.05"].endswith(
        "spec.tolerations unset -> [{'key': 'spot', 'operator': 'Exists'}]"
    )
    assert tolerant["evaluate-copg_0.05"].endswith("runs: after train")
    assert tolerant["reference"].endswith("reused")
    shards = explain(*nodes, "--set", "placement.shards=3")
    assert shards["score"].endswith("runs: score.num_shards unset -> 3")


def test_against_a_server_the_two_dags_are_compared(command: Command, server: KfpServer) -> None:
    states = {"resolve": "SUCCEEDED", "for-loop-2/0/train": "FAILED"}
    server.scripts = {"": [("FAILED", states)]}
    command.with_recipe("run", "align", "--on", "cluster", "--poll", "0.01")

    def explain(*words: str, image: str = IMAGE) -> list[str]:
        words = ("--on", "cluster", "-r", str(command.recipe), "--image", image, *words)
        done = command("explain-cache", "align", *words)
        assert done.code == 0, done.error
        return done.out.splitlines()

    same = explain()
    assert "train-copg_0.05              runs: nothing changed, but it is FAILED in the latest run" in same
    assert "score                        reused" in same
    edited = explain("--set", "score.source=given")
    assert any(
        line.startswith("score ") and "runs: score.source computed -> given" in line for line in edited
    )
    assert any(line.startswith("reference ") and line.endswith("runs: after score") for line in edited)
    other = explain(image=IMAGE.replace("0000", "1111"))
    assert other[0].startswith("validate                     runs: code/validate ")
    assert other[-2] == "0 of 8 tasks are reused"
    assert other[-1].startswith("data, model, rewards and champion: by name")


def test_another_dag_is_compared_by_the_tasks_it_has_and_runs_none_that_it_has_not(
    command: Command, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short_dag.py").write_text(SHORT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DAGS, "short", "short_dag")
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED", "score": "SUCCEEDED"})]}
    done = command.with_recipe("run", "short", "--on", "cluster", "--poll", "0.01")
    assert done.code == 0, done.error
    words = ("--on", "cluster", "-r", str(command.recipe), "--image", IMAGE)
    shown = command("explain-cache", "short", *words)
    assert shown.code == 0, shown.error
    assert [line.split() for line in shown.out.splitlines()[:2]] == [
        ["validate", "reused"],
        ["score", "reused"],
    ]
    assert "2 of 2 tasks are reused" in shown.out
    refused = command("run", "short", *words, "--only", "train")
    assert refused.why == "error: only='train': use one of ['validate', 'score']"
