"""``resolve``: digests move exactly with what they are of, and every mistake is found before any work."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from copg.config import parse_config
from copg.errors import ConfigError, ModelError, RecordError
from copg.run import resolve
from copg.run.plan import stage_keys
from copg.run.resolve import Resolution, ResolveConfig, resolve_recipe
from copg.run.task_names import as_written, task_key
from copg.run.task_record import RUN, TaskRecord, record_path, write_record

TRIALS = [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}]


@pytest.fixture
def settings(tmp_path: Path, reference_dir: Path) -> dict[str, Any]:
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"prompt": "red cat", "completions": ["runs", "sleeps"]}) + "\n")
    return {
        "name": "demo",
        "records": str(records),
        "model": str(reference_dir),
        "rewards": [{"name": "length", "params": {"target": 4}}],
        "trials": [dict(trial) for trial in TRIALS],
        "stages": {},
    }


def resolved(settings: dict[str, Any], tmp_path: Path, **more: Any) -> Resolution:
    config = {"recipe": settings, "run_dir": str(tmp_path / "runs"), **more}
    return resolve_recipe(parse_config(ResolveConfig, config, where="resolve"))


def keys(resolution: Resolution) -> dict[str, str]:
    found = {name: plan["key"] for name, plan in resolution.plans.items()}
    return {**found, **{task["task"]: task["key"] for task in resolution.tasks}}


def changed(before: Resolution, after: Resolution) -> set[str]:
    old, new = keys(before), keys(after)
    return {name for name in old if new.get(name) != old[name]}


AFTER_TRAIN = {
    "train",
    "train-copg_0.1",
    "train-ipo_1",
    "evaluate",
    "evaluate-copg_0.1",
    "evaluate-ipo_1",
} | {
    "report",
    "promote",
}
AFTER_SCORE = AFTER_TRAIN | {"score", "reference", "baseline", "evaluate-reference"}


@pytest.mark.parametrize("adapter", [False, True])
def test_the_weights_that_training_starts_from_move_what_follows(
    settings: dict[str, Any], reference_dir: Path, tmp_path: Path, adapter: bool
) -> None:
    start = tmp_path / "start"
    if adapter:
        start.mkdir()
        (start / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": str(reference_dir)})
        )
        weights = start / "adapter_model.safetensors"
    else:
        shutil.copytree(reference_dir, start)
        weights = start / "model.safetensors"
    save_file({"weight": np.zeros(2)}, weights)
    settings["stages"] = {"train": {"start_from": str(start)}}
    first = resolved(settings, tmp_path)
    assert not any("is an adapter on" in line for line in first.warnings)
    assert changed(first, resolved(settings, tmp_path)) == set()
    save_file({"weight": np.ones(2)}, weights)
    assert changed(first, resolved(settings, tmp_path)) == AFTER_TRAIN


def test_an_adapter_on_another_model_than_the_recipe_s_is_doubted(
    settings: dict[str, Any], tmp_path: Path, reference_dir: Path
) -> None:
    start, other = tmp_path / "start", shutil.copytree(reference_dir, tmp_path / "other")
    start.mkdir()
    (start / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(other)}))
    save_file({"weight": np.zeros(2)}, start / "adapter_model.safetensors")
    settings["stages"] = {"train": {"start_from": str(start)}}
    told = [line for line in resolved(settings, tmp_path).warnings if "is an adapter on" in line]
    assert [f"is an adapter on '{other}', and model='{reference_dir}'" in line for line in told] == [True]


@pytest.mark.parametrize(
    ("configuration", "weights", "told"),
    [
        ('{"base_model_name_or_path": null}', True, "names no base_model_name_or_path"),
        ("{", True, "names no base_model_name_or_path"),
        ('{"base_model_name_or_path": "./gone"}', True, "no such directory"),
        ("{}", False, r"no \*.safetensors weights"),
    ],
)
def test_an_adapter_that_training_cannot_start_from_is_told_before_any_work(
    settings: dict[str, Any], tmp_path: Path, configuration: str, weights: bool, told: str
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / "adapter_config.json").write_text(configuration)
    if weights:
        (start / "adapter_model.safetensors").write_bytes(b"weights")
    settings["stages"] = {"train": {"start_from": str(start)}}
    with pytest.raises(ModelError, match=told):
        resolved(settings, tmp_path)


def test_a_start_that_is_not_there_is_told_before_any_work(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["stages"] = {"train": {"start_from": "./gone"}}
    with pytest.raises(ModelError, match=r"train.start_from='./gone': no such directory"):
        resolved(settings, tmp_path)


def test_the_same_recipe_has_the_same_keys(settings: dict[str, Any], tmp_path: Path) -> None:
    first, second = resolved(settings, tmp_path), resolved(settings, tmp_path)
    assert changed(first, second) == set()
    assert [task["task"] for task in first.tasks] == [
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


def test_changed_records_change_everything(settings: dict[str, Any], tmp_path: Path) -> None:
    before = resolved(settings, tmp_path)
    with Path(settings["records"]).open("a") as file:
        file.write("\n")
    assert changed(before, resolved(settings, tmp_path)) == AFTER_SCORE | {"validate"}


def test_changed_rewards_leave_the_groups_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    before = resolved(settings, tmp_path)
    settings["rewards"][0]["params"]["target"] = 5
    assert changed(before, resolved(settings, tmp_path)) == AFTER_SCORE


def test_rewards_of_evaluation_alone_leave_scoring_and_training_alone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    reward = tmp_path / "mine.py"
    reward.write_text("def mine(prompts, completions, columns):\n    return [0.0 for _ in completions]\n")
    settings["stages"] = {"evaluate": {"rewards": [{"name": f"{reward}:mine"}]}}
    before = resolved(settings, tmp_path)
    reward.write_text("def mine(prompts, completions, columns):\n    return [1.0 for _ in completions]\n")
    assert changed(before, resolved(settings, tmp_path)) == {
        "baseline",
        "evaluate",
        "evaluate-reference",
        "evaluate-copg_0.1",
        "evaluate-ipo_1",
        "report",
        "promote",
    }


def test_a_changed_training_setting_leaves_reference_and_baselines_alone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    before = resolved(settings, tmp_path)
    settings["stages"] = {"train": {"epochs": 3}}
    assert changed(before, resolved(settings, tmp_path)) == AFTER_TRAIN


def test_another_trial_leaves_the_others_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    before = resolved(settings, tmp_path)
    settings["trials"].append({"method": "dpo", "beta": 0.5})
    assert changed(before, resolved(settings, tmp_path)) == {"report", "promote"}


def test_numbers_that_a_pipeline_made_floats_change_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["stages"] = {"train": {"epochs": 2}}
    settings["trials"][1]["beta"] = 1
    before = resolved(settings, tmp_path)
    settings["stages"] = {"train": {"epochs": 2.0}}
    settings["trials"][1]["beta"] = 1.0
    assert changed(before, resolved(settings, tmp_path)) == set()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("validate", AFTER_SCORE | {"validate"}),
        ("score", AFTER_SCORE),
        ("reference", AFTER_TRAIN | {"reference"}),
        ("train", AFTER_TRAIN),
        (
            "evaluate",
            {
                "baseline",
                "evaluate",
                "evaluate-reference",
                "evaluate-copg_0.1",
                "evaluate-ipo_1",
                "report",
                "promote",
            },
        ),
        ("report", {"report"}),
        ("promote", {"promote"}),
    ],
)
def test_code_of_a_stage_changes_it_and_what_comes_after(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, expected: set[str]
) -> None:
    before = resolved(settings, tmp_path)
    digest = resolve.code_digest
    monkeypatch.setattr(
        resolve, "code_digest", lambda name: "other" if name == f"copg.stages.{module}" else digest(name)
    )
    assert changed(before, resolved(settings, tmp_path)) == expected


def test_all_mistakes_of_all_stages_come_at_once_and_before_the_records_are_read(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {
        "records": str(tmp_path / "none.jsonl"),
        "trials": [
            {"method": "copg", "beta": 0.1},
            {"method": "ipo", "beta": -1.0},
            {"method": "grpo", "beta": 1.0},
        ],
        "stages": {"train": {"epochs": 0.5, "epocs": 1}, "score": {"source": "guessed"}},
    }
    with pytest.raises(ConfigError) as error:
        resolved(settings, tmp_path)
    message = str(error.value)
    for part in (
        "train.epochs=0.5",
        "train.epocs is unknown",
        "score.source='guessed'",
        "beta=-1.0 must be > 0",
    ):
        assert part in message
    assert "\n" not in message


def test_given_rewards_alone_cannot_score_what_a_policy_writes(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings |= {"rewards": [], "stages": {"score": {"source": "given"}}}
    with pytest.raises(
        ConfigError, match="rewards is empty: rewards that came with the records cannot score"
    ):
        resolved(settings, tmp_path)
    settings["stages"]["evaluate"] = {"rewards": [{"name": "length", "params": {"target": 4}}]}
    with pytest.raises(ConfigError, match="source=given: none of the first records came with a reward"):
        resolved(settings, tmp_path)
    row = {"prompt": "red cat", "completions": ["runs", "sleeps"], "rewards": [0, 1]}
    Path(settings["records"]).write_text(json.dumps(row))
    assert resolved(settings, tmp_path).plans["score"]["config"]["source"] == "given"


def test_what_is_not_there_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.jsonl"):
        resolved({**settings, "records": "./none.jsonl"}, tmp_path)
    with pytest.raises(ModelError, match="no such directory"):
        resolved({**settings, "model": "./none"}, tmp_path)
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled/config.json").write_text("{}")
    (tmp_path / "pickled/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no \*\.safetensors weights"):
        resolved({**settings, "model": str(tmp_path / "pickled")}, tmp_path)


def test_a_run_that_cannot_fit_is_refused_only_where_it_would_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**30, available=2**30))
    resolved(settings, tmp_path)
    with pytest.raises(ConfigError, match=r"training needs about .* GiB of memory, the machine has 1\.0 GiB"):
        resolved(settings, tmp_path, tasks_at_once=2)
    monkeypatch.setattr(psutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    (told,) = resolved(settings, tmp_path).warnings  # of the volume that all tasks share
    assert re.fullmatch(r"the run needs about .* of disk, \S+ has 0\.0 GiB free", told)


def test_weights_are_read_once_while_they_do_not_change(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from copg.run import sources

    read = []
    digest = sources.model_digest
    monkeypatch.setattr(sources, "model_digest", lambda path: read.append(path) or digest(path))
    first, second = resolved(settings, tmp_path), resolved(settings, tmp_path)
    assert len(read) == 1
    assert first.digests == second.digests


def test_rewards_are_another_purpose_by_what_they_reward_not_by_our_code(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolved(settings, tmp_path).digests
    monkeypatch.setattr("copg.rewards.registry.code_of_reward", lambda name: "a new version of copg")
    second = resolved(settings, tmp_path).digests
    assert first["rewards/evaluate"] != second["rewards/evaluate"]
    assert first["purpose"] == second["purpose"]
    for other in ({"params": {"target": 5}}, {"weight": 2.0}):
        rewards = [{**settings["rewards"][0], **other}]
        assert resolved({**settings, "rewards": rewards}, tmp_path).digests["purpose"] != first["purpose"]


def test_a_trial_whose_deleted_weights_are_needed_is_trained_again(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resolved(settings, tmp_path)
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "weights_deleted.txt").write_text("another trial was promoted")
    for task in before.tasks:
        outputs = {"policy": str(policy)} if task["task"] == "train-ipo_1" else {}
        record = TaskRecord(
            stage=task["stage"], task=task["task"], key=task["key"], state="succeeded", outputs=outputs
        )
        write_record(tmp_path / "runs", record)
    assert changed(before, resolved(settings, tmp_path)) == set(), "what was evaluated needs no weights"

    settings["stages"] = {"evaluate": {"samples_per_prompt": 3}}
    after = resolved(settings, tmp_path)
    assert "train-ipo_1" in changed(before, after)
    assert "train-copg_0.1" not in changed(before, after)
    assert (as_written(after.trials[0]), "renewal" in after.trials[0]) == (TRIALS[0], False)
    assert "renewal" in after.trials[1]
    assert "the weights of ipo_1 were deleted" in after.warnings[0]
    assert "warning: the weights of ipo_1" in capsys.readouterr().err
    again = resolved(settings, tmp_path)
    assert (again.trials, again.warnings) == (after.trials, [])


def test_the_run_and_its_tasks_are_written_for_those_that_follow(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    found = resolved(settings, tmp_path)
    run = json.loads((tmp_path / "runs" / RUN).read_text())
    assert run["tasks"] == found.tasks
    trial = next(task for task in found.tasks if task["task"] == "train-ipo_1")
    assert trial["key"] == task_key(found.plans["train"]["key"], found.trials[1])
    assert as_written(found.trials[1]) == TRIALS[1]
    assert record_path(tmp_path, trial["task"], trial["key"]).name.startswith("train-ipo_1-")


def test_every_stage_has_a_key_that_its_own_settings_move() -> None:
    stages = ("validate", "score", "reference", "train", "evaluate", "report", "promote")
    digests = {
        **dict.fromkeys(("data", "model", "text", "rewards/score", "rewards/train", "rewards/evaluate"), "d"),
        **{f"code/{stage}": "c" for stage in stages},
    }
    configs: dict[str, Any] = {stage: {"x": 1} for stage in stages}
    before = stage_keys(configs, digests, TRIALS)
    for stage in stages:
        moved = stage_keys({**configs, stage: {"x": 2}}, digests, TRIALS)
        assert moved[stage] != before[stage]


def test_resolving_loads_no_numerical_library(settings: dict[str, Any], tmp_path: Path) -> None:
    program = (
        "import json, sys; from copg.config import parse_config; "
        "from copg.run.resolve import ResolveConfig, resolve_recipe; "
        "resolve_recipe(parse_config(ResolveConfig, json.loads(sys.argv[1]), where='resolve')); "
        "print({'torch', 'datasets', 'great_expectations', 'mlflow'} & set(sys.modules))"
    )
    config = json.dumps({"recipe": settings, "run_dir": str(tmp_path / "runs"), "tasks_at_once": 2})
    done = subprocess.run(
        [sys.executable, "-c", program, config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("rewards", "sections", "told"),
    [
        (
            [{"name": "answer"}],
            {"sample": {}},
            r"^rewards: answer reads column 'answer'; the first records hold \['note'\]$",
        ),
        (
            [{"name": "reward_model"}],
            {"sample": {}, "reward": {}},
            "^reward: none of the records came with preferences, thumbs or rewards to learn from; name ",
        ),
        ([{"name": "unit_tests", "params": {"column": "note"}}], {"sample": {}}, ""),
    ],
)
def test_a_reward_that_cannot_judge_the_records_is_refused_before_anything_is_drawn(
    settings: dict[str, Any], tmp_path: Path, rewards: list[Any], sections: dict[str, Any], told: str
) -> None:
    row = json.dumps({"prompt": "red cat", "completion": "runs", "note": "assert True"})
    Path(settings["records"]).write_text(f"{row}\n")
    asked = {**settings, "rewards": rewards, "stages": sections}
    if not told:  # what a reward can do without refuses nothing
        assert "sample" in resolved(asked, tmp_path).plans
        return
    with pytest.raises(ConfigError, match=told):
        resolved(asked, tmp_path)
    resolved(asked, tmp_path, again=True)  # a stage alone is given what others made


def test_thumbs_that_come_after_the_first_records_refuse_nothing(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"cat {i}", "completion": "runs", "thumb": "up" if i > 220 else None} for i in range(240)
    ]
    Path(settings["records"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    learnt = {**settings, "rewards": [{"name": "reward_model"}], "stages": {"reward": {}, "sample": {}}}
    found = resolved(learnt, tmp_path).plans
    assert "reward" in found
    # what the gate will see is told by whoever comes before the reward is learnt, and anything drawn
    assert found["validate"]["gate"] == {**found["score"]["gate"], "bounds": None}
    assert "gate" not in resolved(settings, tmp_path).plans["validate"]
