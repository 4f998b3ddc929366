"""A training's way back stays until KFP has stored its outputs, and no longer."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from copg_components.cluster.leftovers import EXCHANGE
from copg_components.evaluate import evaluate
from copg_components.train import train
from kfp import dsl

from copg.artifacts import read_manifest
from copg.lm.config import GenerationConfig
from copg.rewards.contract import RewardSpec
from copg.stages.evaluate import EvaluateConfig
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.training.config import CheckpointConfig, MonitorConfig, TrainConfig, TrialConfig
from tests import tiny

TRIAL = {"method": "copg", "beta": 0.1}


@pytest.fixture
def root(reference_dir: Path, tmp_path: Path) -> Path:
    tiny.write_scored(tmp_path / "scored", train=8, select=4, gate=4)
    config = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"))
    reference_groups(config, tmp_path / "scored", tmp_path / "referenced")
    return tmp_path


class Stored:
    """An artifact of KFP: ``uri`` is where it is stored, ``path`` where the task sees it."""

    def __init__(self, path: Path, *, remote: bool) -> None:
        self.path, self.metadata = str(path), dict[str, Any]()
        self.uri = f"s3://bucket/{path.name}" if remote else self.path


def run_train(root: Path, model: Path, *, remote: bool) -> Stored:
    checkpoint = CheckpointConfig(folder=str(root / "checkpoints"))
    config = asdict(
        TrainConfig(
            model=str(model),
            trial=TrialConfig(**TRIAL),
            checkpoint=checkpoint,
            groups_per_step=4,
            samples=MonitorConfig(num_prompts=0),
            threads=1,
        )
    )
    config.pop("trial")
    policy = Stored(root / "policy", remote=remote)
    train.python_func(
        plan={"key": "k", "config": config},
        trial=TRIAL,
        run_dir=str(root / "runs"),
        referenced=Stored(root / "referenced", remote=remote),
        policy=policy,
        training=Stored(root / "training", remote=remote),
        metrics=dsl.Metrics(uri=str(root / "train_metrics")),
    )
    return policy


def run_evaluate(root: Path, model: Path, policy: Any, *, remote: bool) -> None:
    config = asdict(
        EvaluateConfig(
            model=str(model),
            rewards=[RewardSpec("length", params={"target": 4})],
            generation=GenerationConfig(max_new_tokens=4),
        )
    )
    evaluate.python_func(
        plan={"key": "e", "config": config},
        subject=TRIAL,
        run_dir=str(root / "runs"),
        scored=Stored(root / "scored", remote=remote),
        evaluation=Stored(root / "evaluation", remote=remote),
        metrics=dsl.Metrics(uri=str(root / "evaluate_metrics")),
        policy=policy,
    )


def test_on_a_cluster_a_lost_upload_costs_no_step_and_the_evaluation_clears_up(
    root: Path, reference_dir: Path
) -> None:
    policy = run_train(root, reference_dir, remote=True)
    steps = [path.name for path in (root / "checkpoints").glob("*/step_*")]
    assert steps == ["step_00000002"]  # 8 groups, 4 a step
    first = read_manifest(root / "policy", schema="policy").digest
    for lost in ("policy", "training"):  # with the pod
        shutil.rmtree(root / lost)
    run_train(root, reference_dir, remote=True)
    assert read_manifest(root / "training", schema="training").facts["resumed_from"] == 2
    assert read_manifest(root / "policy", schema="policy").digest == first

    nodes = root / "runs" / EXCHANGE
    shutil.copytree(root / "policy", nodes / "mine/policy")
    shutil.copytree(root / "policy", nodes / "others/policy")
    manifest = nodes / "others/policy/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "digest": "another"}))
    run_evaluate(root, reference_dir, policy, remote=True)
    assert list((root / "checkpoints").iterdir()) == []
    assert [path.name for path in nodes.iterdir()] == ["others"]


def test_on_one_machine_what_is_written_is_stored(root: Path, reference_dir: Path) -> None:
    run_train(root, reference_dir, remote=False)
    assert list((root / "checkpoints").iterdir()) == []
