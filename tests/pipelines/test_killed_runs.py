"""A whole run, killed at random moments: nothing works on, and the next run gives what a whole one does."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from copg.artifacts import read_manifest
from copg.run.task_record import RUN, read_json, read_record, record_path
from copg.stores.completion_store import COMPLETIONS
from copg.stores.reference_store import REFERENCES
from copg.stores.reward_store import REWARDS
from copg.stores.values import find_stores
from copg.tracking.mlflow import connect
from tests import tiny

KILLS = 20
STORES = {"sample": COMPLETIONS, "score": REWARDS, "reference": REFERENCES}
"""What several runs may share, by the stage that fills it."""
RECIPE: dict[str, Any] = {
    "name": "killed",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "length", "params": {"max": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {"epochs": 2, "groups_per_step": 4, "threads": 1, "samples": {"num_prompts": 0}},
    "evaluate": {
        "num_prompts": 4,
        "samples_per_prompt": 2,
        "threads": 1,
        "generation": {"max_new_tokens": 4},
    },
    "promote": {"error": {"refuse_hopeless": False}},  # of so few prompts
}


def start(home: Path, root: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(home / "recipe.yaml")]
    command += ["--on", "local", "--run-dir", str(root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=home, env=environment, **quiet)


def digests(root: Path) -> dict[str, str]:
    """Content digests of the latest run by task and name; reports and decisions name runs."""
    found = {}
    for task in read_json(root / RUN)["tasks"]:
        record = read_record(record_path(root, task["task"], task["key"]))
        assert record is not None
        assert record.state == "succeeded", record.message
        for name, address in record.outputs.items():
            if name in ("groups", "scored", "referenced", "policy"):
                found[f"{task['task']}/{name}"] = read_manifest(Path(address), schema=name).digest
    return found


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_a_run_killed_at_random_moments_leaves_no_orphan_and_is_the_same_in_the_end(
    tmp_path: Path, reference_dir: Path
) -> None:
    tiny.write_records(tmp_path / "records.jsonl", 60, 3)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "model": str(reference_dir)}))
    began = time.monotonic()
    assert start(tmp_path, tmp_path / "whole").wait(timeout=1800) == 0
    lasted_s = time.monotonic() - began
    rng, killed = random.Random(0), tmp_path / "killed"
    for _ in range(KILLS):
        run = start(tmp_path, killed)
        time.sleep(rng.uniform(0.0, lasted_s))
        children = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        run.kill()
        run.wait()
        _, left = psutil.wait_procs(children, timeout=60)
        assert left == []
    assert start(tmp_path, killed).wait(timeout=1800) == 0
    assert digests(killed) == digests(tmp_path / "whole")
    client = connect(f"sqlite:///{killed}/mlflow.db")
    experiment = client.get_experiment_by_name("killed").experiment_id
    states = {run.info.status for run in client.search_runs([experiment])}
    assert "FINISHED" in states
    assert states <= {"FINISHED", "KILLED"}


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_two_runs_at_once_share_their_stores_and_come_to_the_same(tmp_path: Path) -> None:
    tiny.write_records(tmp_path / "records.jsonl", 60, 3)
    model = str(tiny.save_drawing_model(tmp_path / "model"))
    stores: dict[str, Any] = {stage: {"store": str(tmp_path / stage)} for stage in STORES}
    stores["sample"] |= {"completions": 5, "generation": {"max_new_tokens": 4}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **stores, "model": model}))
    roots = [tmp_path / "one", tmp_path / "other"]
    runs = [start(tmp_path, root) for root in roots]
    assert [run.wait(timeout=1800) for run in runs] == [0, 0]
    one, other = map(digests, roots)
    assert one == other
    for stage, kind in STORES.items():
        (store,) = find_stores(kind, str(tmp_path / stage))
        counts = store.verify()
        assert counts["rows"] > 0
        assert (counts["not_finite"], counts["contradictions"]) == (0, 0)
