"""Preferences and nothing else: the DAG trains the reward model by which it scores, trains and evaluates."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.compiling import compile_dag

from copg.artifacts import read_manifest
from copg.data.group_files import read_groups
from copg.rewards.reward_model import RewardModel
from copg.run.recipe import parse_recipe
from tests import tiny

ROOT = Path(__file__).parents[2]
RECIPE: dict[str, Any] = {
    "name": "preferences",
    "records": "preferences.jsonl",
    "model": "./model",
    "reward": {"epochs": 4, "groups_per_step": 8, "optimizer": {"learning_rate": 5e-3}},
    "trials": [{"method": "copg", "beta": 0.5}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {
        "groups_per_step": 8,
        "optimizer": {"learning_rate": 1e-3},
        "samples": {"num_prompts": 4, "generation": {"max_new_tokens": 6}},
    },
    "evaluate": {"num_prompts": 8, "samples_per_prompt": 1, "generation": {"max_new_tokens": 6}},
}


def write_preferences(path: Path, number: int) -> None:
    """Of each pair the completion with a cat is chosen, the one with a dog rejected."""
    rng = random.Random(0)
    with path.open("w") as file:
        for _ in range(number):
            pair = [f"{tiny.text(rng, 1, 3)} {word} {tiny.text(rng, 1, 3)}" for word in ("cat", "dog")]
            row = {"prompt": tiny.text(rng, 4, 9), "chosen": pair[0], "rejected": pair[1]}
            file.write(json.dumps(row) + "\n")


def run(home: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The DAG on this machine, and its summary."""
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(home / "recipe.yaml")]
    command += ["--on", "local", "--run-dir", str(home / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    return done, json.loads((home / "runs/summary.json").read_text())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Path:
    home = tmp_path_factory.mktemp("preferences")
    shutil.copytree(reference_dir, home / "model")
    write_preferences(home / "preferences.jsonl", 96)
    (home / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return home


@pytest.mark.nightly
def test_preferences_alone_are_enough(home: Path) -> None:
    done, summary = run(home)
    assert done.returncode == 0, done.stderr
    assert summary["executed"] == sorted(
        ["resolve", "validate", "reward", "score", "reference", "evaluate-reference", "train-copg_0.5",
         "evaluate-copg_0.5", "report", "promote"]
    )  # fmt: skip
    (model,) = (home / "runs/reward_models").iterdir()
    metrics = read_manifest(model, schema="reward_model").facts["metrics"]
    assert metrics["accuracy/mean"] > 0.8
    # scored by that model, not by the 1 and 0 of the preferences
    (scored,) = (home / "runs/artifacts").glob("*/score/scored")
    group = next(iter(read_groups(scored, "train")))
    expected = RewardModel(model=str(model))(
        [group.prompt] * 2, [c.text for c in group.completions], [{}, {}]
    )
    assert [c.reward for c in group.completions] == pytest.approx(expected, abs=1e-4)
    assert summary["reference"]["reward"] is not None


def test_the_task_comes_before_score_and_only_where_a_reward_needs_it(tmp_path: Path) -> None:
    tasks = {}
    placed = {**RECIPE, "records": "/runs/p.jsonl", "model": "owner/model"}
    for name, rewards in (
        ("trained", []),
        ("named", [{"name": "reward_model", "params": {"model": "/runs/m"}}]),
    ):
        recipe = parse_recipe({**placed, "rewards": rewards})
        compile_dag("align", recipe, tmp_path / f"{name}.yaml", run_dir="/runs/p", image="copg@sha256:0")
        components = next(yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text()))["components"]
        tasks[name] = components["comp-stages"]["dag"]["tasks"]
    assert tasks["trained"]["reward"]["dependentTasks"] == ["validate"]
    assert tasks["trained"]["score"]["dependentTasks"] == ["reward", "validate"]
    assert "reward" not in tasks["named"]
    assert tasks["named"]["score"]["dependentTasks"] == ["validate"]
