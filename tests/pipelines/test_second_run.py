"""Three runs with new records between them, the artifacts of the ones before deleted: the champion stays."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from copg.artifacts import read_manifest
from copg.tracking.registry import Registry
from tests import tiny

RECIPE: dict[str, Any] = {
    "name": "weekly",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "format", "params": {"pattern": "cat", "match": "anywhere"}}],  # soon learnt
    "trials": [{"method": "copg", "beta": 0.05}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {
        "epochs": 12,
        "groups_per_step": 8,
        "optimizer": {"learning_rate": 1e-3},
        "samples": {"num_prompts": 4, "generation": {"max_new_tokens": 8}},
    },
    "evaluate": {"num_prompts": 32, "samples_per_prompt": 2, "generation": {"max_new_tokens": 8}},
    "promote": {"max_kl": 1000.0},
}


def run(home: Path, num_prompts: int) -> dict[str, Any]:
    """A run on as many records, of which the first are those of the run before; its summary."""
    tiny.write_records(home / "records.jsonl", num_prompts, 4)
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(home / "recipe.yaml")]
    command += ["--on", "local", "--run-dir", str(home / "runs")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((home / "runs/summary.json").read_text())
    return found


def warned(summary: dict[str, Any], stage: str, words: str = "") -> list[str]:
    """What a stage warned of, with these words in it."""
    return [line for line in summary["warnings"] if line.startswith(stage) and words in line]


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_the_champion_of_a_run_whose_artifacts_are_gone_is_measured_against_by_every_later_one(
    tmp_path: Path, reference_dir: Path
) -> None:
    shutil.copytree(reference_dir, tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    first = run(tmp_path, 200)
    assert first["promoted"], first["reasons"]
    assert "evaluate-champion" not in first["executed"]
    for num_prompts in (240, 280):
        registry = Registry(f"sqlite:///{tmp_path}/runs/mlflow.db", "weekly")
        serving = registry.champions()[0]
        shutil.rmtree(tmp_path / "runs/artifacts")
        later = run(tmp_path, num_prompts)
        assert (later["state"], warned(later, "champion: ")) == ("succeeded", [])
        # of these records alone, and of none that a champion was made of
        assert len(warned(later, "validate: ", "changed by tokenizer")) == 1
        assert {"validate", "train-copg_0.05", "evaluate-champion", "promote"} <= set(later["executed"])
        path = tmp_path / "runs/stages"
        (record,) = (
            found
            for file in path.glob("evaluate-champion-*.json")
            if (found := json.loads(file.read_text()))["run"] == later["run"]
        )
        assert record["subject"]["uri"] == serving.policy_uri
        assert read_manifest(Path(serving.policy_uri), schema="policy").digest == serving.digest
    shutil.rmtree(Path(registry.champions()[0].policy_uri).parent)
    last = run(tmp_path, 320)
    assert last["state"] == "succeeded"
    (told,) = warned(last, "champion: ")
    assert "is gone from" in told
    assert "evaluate-champion" not in last["executed"]
