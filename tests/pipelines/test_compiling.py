"""The compiled DAG."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.compiling import compile_dag

from copg.errors import ConfigError
from copg.run.recipe import parse_recipe

RECIPE: dict[str, Any] = {
    "name": "demo",
    "records": "/runs/records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 20}}],
    "trials": [{"method": "copg", "beta": 0.05}],
    "train": {"epochs": 2},
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "align.yaml"
    compile_dag("align", parse_recipe(RECIPE), path, run_dir="/runs/demo", image="registry/copg@sha256:0")
    return path


@pytest.fixture(scope="module")
def dag(compiled: Path) -> dict[str, Any]:
    return next(yaml.safe_load_all(compiled.read_text()))  # after it comes what Kubernetes is to give


def tasks(dag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = dict(dag["root"]["dag"]["tasks"])
    for component in dag["components"].values():
        found |= component.get("dag", {}).get("tasks", {})
    return found


def test_at_most_ten_parameters_with_the_recipe_as_their_defaults(dag: dict[str, Any]) -> None:
    parameters = dag["root"]["inputDefinitions"]["parameters"]
    own = {"name", "records", "model", "rewards", "trials", "settings", "run_dir"}
    assert set(parameters) == own | {"betas", "epochs", "max_kl"}  # which people turn in a form
    assert [parameters[name]["defaultValue"] for name in ("betas", "epochs", "max_kl")] == [[], 0, 0]
    settings = {
        "train": {"epochs": 2},
        "tracking": "http://copg-mlflow:5000",
    }  # the latter is the placement's
    assert parameters["settings"]["defaultValue"] == settings
    assert parameters["trials"]["defaultValue"] == [{"method": "copg", "beta": 0.05}]
    assert all(parameter["description"] for parameter in parameters.values())


def test_the_dag_and_each_of_its_tasks_have_a_name_for_people(dag: dict[str, Any]) -> None:
    assert dag["pipelineInfo"]["displayName"] == "Align a language model"
    named = {
        name: task["taskInfo"]["name"]
        for name, task in tasks(dag).items()
        if "executorLabel" in dag["components"][task["componentRef"]["name"]]
    }
    assert len(named) == 10
    assert all(title[:1].isupper() and " " in title for title in named.values()), named
    assert len(set(named.values())) == len(named)


def test_only_resolve_and_the_exit_handler_are_never_cached(dag: dict[str, Any]) -> None:
    uncached = {
        name
        for name, task in tasks(dag).items()
        if task["componentRef"]["name"] in dag["components"]
        and "executorLabel" in dag["components"][task["componentRef"]["name"]]
        and not task["cachingOptions"].get("enableCache")
    }
    assert uncached == {"resolve", "summary"}


def test_every_task_runs_in_the_image_that_was_asked_for(dag: dict[str, Any]) -> None:
    executors = dag["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {"registry/copg@sha256:0"}


def test_the_graph_is_the_stage_table(dag: dict[str, Any]) -> None:
    needs = {name: sorted(task.get("dependentTasks", [])) for name, task in tasks(dag).items()}
    assert needs["stages"] == ["resolve"]
    assert needs["score"] == ["validate"]
    assert needs["reference"] == ["score"]
    assert needs["train"] == []  # of the loop over trials, which waits for reference
    assert needs["evaluate-2"] == ["train"]
    assert needs["promote"] == ["for-loop-1", "for-loop-2", "report", "validate"]
    assert needs["summary"] == ["exit-handler-1"]


def test_another_process_compiles_to_the_same_bytes(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    again = tmp_path / "again.yaml"
    command = [
        sys.executable,
        "-m",
        "copg.cli",
        "compile",
        "align",
        "--recipe",
        str(tmp_path / "recipe.yaml"),
    ]
    command += ["--output", str(again), "--image", "registry/copg@sha256:0"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert again.read_bytes() == compiled.read_bytes()


@pytest.mark.nightly
def test_the_command_compiles_from_any_directory(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    command = [
        sys.executable,
        "-m",
        "copg.cli",
        "compile",
        "align",
        "--recipe",
        "recipe.yaml",
        "--output",
        "a/b.yaml",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a/b.yaml").is_file()


@pytest.mark.parametrize(
    ("name", "why"), [("dag.txt", "must end in .yaml"), ("file/dag.yaml", "(File exists|Not a directory)")]
)
def test_an_output_that_cannot_be_is_one_line(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"^output='{tmp_path / name}': {why}$"):
        compile_dag("align", parse_recipe(RECIPE), tmp_path / name, run_dir="/runs")
