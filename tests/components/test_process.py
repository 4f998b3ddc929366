"""What a task leaves says what it is, also where an earlier task's work is handed on."""

import json
from pathlib import Path
from typing import Any

import pytest
from copg_components._process import recorded
from copg_components.reward import reward
from copg_components.train import train
from kfp import dsl

from copg.artifacts import begin, seal
from copg.run.task_record import RUN


def artifact(folder: Path) -> dsl.Dataset:
    return dsl.Dataset(name="groups", uri=str(folder))


def test_an_artifact_carries_its_card_and_so_does_one_that_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps({"run": "r1"}))
    plan, first = {"key": "k" * 64, "config": {}}, artifact(tmp_path / "first")
    with recorded("validate", plan, str(tmp_path), inputs={}, outputs={"groups": first}) as record:
        assert not record.answers
        begin(Path(first.path))
        sealed = seal(
            Path(first.path), schema="groups", stage="validate", rows=3, config={}, parents={}, facts={}
        )
    expected = {"schema": "groups", "rows": 3, "digest": sealed.digest[:12]}
    assert first.metadata == expected
    again = artifact(tmp_path / "second")
    with recorded("validate", plan, str(tmp_path), inputs={}, outputs={"groups": again}) as record:
        assert record.answers
    assert (again.uri, again.metadata) == (first.uri, expected)


def test_settings_written_by_hand_need_no_key_and_are_worked_every_time(tmp_path: Path) -> None:
    for number in range(2):
        with recorded("validate", {"config": {"seed": 1}}, str(tmp_path), inputs={}) as record:
            assert (number, record.answers) == (number, False)
    with recorded("validate", {"config": {"seed": 2}}, str(tmp_path), inputs={}) as other:
        assert other.key != record.key


def test_a_reward_model_of_settings_by_hand_is_of_these_groups_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def train_reward_once(config: Any, groups: Path, folder: Path) -> dict[str, float]:
        if not folder.exists():
            made.append(begin(folder))
            seal(folder, schema="reward_model", stage="reward", rows=1, config={}, parents={}, facts={})
        return {"accuracy/pairs": 0.75}

    monkeypatch.setattr("copg.stages.reward.train_reward_once", train_reward_once)
    for number, rows in enumerate((3, 3, 4)):
        groups = dsl.Dataset(uri=str(tmp_path / f"groups{number}"))
        (begin(Path(groups.path)) / "rows").write_text(str(rows))
        seal(Path(groups.path), schema="groups", stage="validate", rows=rows, config={}, parents={}, facts={})
        model, metrics = dsl.Model(uri=str(tmp_path / "out")), dsl.Metrics(uri=str(tmp_path / "metrics"))
        hand: Any = {"config": {"model": "owner/model"}}
        reward.python_func(hand, str(tmp_path), groups=groups, reward_model=model, metrics=metrics)
        assert model.metadata["weights"] == str(made[-1])
    assert len(made) == len(set(made)) == 2


def test_a_training_of_settings_by_hand_that_lack_something_says_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, training = (dsl.Model(uri=f"minio://bucket/{name}") for name in ("policy", "training"))
    with pytest.raises(SystemExit):
        train.python_func(
            plan={"config": {"model": "owner/model"}},
            trial={"method": "copg", "beta": 0.1},
            run_dir=str(tmp_path),
            referenced=dsl.Dataset(uri=str(tmp_path / "referenced")),
            policy=policy,
            training=training,
            metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        )
    assert "error: train-copg_0.1: train.checkpoint.folder is missing" in capsys.readouterr().err


def test_a_training_over_nodes_of_settings_by_hand_is_of_these_groups_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def train_on_nodes(job: Any, settings: Any, key: str, run_dir: Path, **more: Any) -> dict[str, float]:
        keys.append(key)
        return {}

    monkeypatch.setattr("copg_components.cluster.train_job.train_on_nodes", train_on_nodes)
    settings = {"model": "owner/model", "checkpoint": {"folder": str(tmp_path / "checkpoints")}}
    for number, rows in enumerate((3, 3, 4)):
        referenced = dsl.Dataset(uri=str(tmp_path / f"referenced{number}"))
        (begin(Path(referenced.path)) / "rows").write_text(str(rows))
        parts = {"schema": "referenced", "stage": "reference", "config": {}, "parents": {}, "facts": {}}
        seal(Path(referenced.path), rows=rows, **parts)
        train.python_func(
            plan={"config": settings},
            trial={"method": "copg", "beta": 0.1},
            run_dir=str(tmp_path),
            referenced=referenced,
            policy=dsl.Model(uri=str(tmp_path / "policy")),
            training=dsl.Artifact(uri=str(tmp_path / "training")),
            metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
            train_job={"kind": "TrainJob"},
        )
    assert keys[0] == keys[1] != keys[2]
