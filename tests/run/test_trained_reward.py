"""A reward model that the run trains: when a recipe asks for one, what depends on it, where it is read."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.data.holding import hold_folder
from copg.errors import ConfigError, ModelError, RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.registry import digest_of_rewards
from copg.run.check import check_recipe
from copg.run.recipe import STAGES, parse_recipe
from copg.run.resolve import Resolution, ResolveConfig, resolve_recipe
from copg.run.task_record import TaskRecord, record_path, write_record
from copg.run.trained_reward import as_ensembles, model_folder, trains_reward, with_model
from copg.stages.reward import RewardConfig, train_reward, train_reward_once
from tests.stages.test_reward import FAST, write
from tests.tiny import save_model

TRAINED = {"name": "reward_model", "params": {"form": "text"}}
NAMED = {"name": "reward_model", "label": "other", "params": {"model": "/models/other"}}
BASE: dict[str, Any] = {"name": "n", "records": "r.jsonl", "model": "m", "trials": [{"beta": 0.1}]}


def test_one_is_trained_when_a_reward_names_no_model_and_there_is_a_section_for_it() -> None:
    section = {"reward": {}}
    assert trains_reward([TRAINED], section)
    assert trains_reward([], {**section, "evaluate": {"rewards": [NAMED, {"name": "reward_model"}]}})
    assert trains_reward([NAMED], {**section, "train": {"samples": {"rewards": [TRAINED]}}})
    assert not trains_reward([NAMED, {"name": "length"}], section)
    assert not trains_reward([NAMED], {})
    with pytest.raises(ValueError, match="'reward_model' names no model: set"):
        trains_reward([TRAINED], {})


def test_a_section_without_any_reward_asks_for_that_reward() -> None:
    recipe = parse_recipe({**BASE, "reward": {"epochs": 2}})
    assert recipe.rewards == [{"name": "reward_model"}]
    assert recipe.planned == (*STAGES, "reward")
    assert parse_recipe({**BASE, "rewards": [{"name": "length"}]}).planned == STAGES
    with pytest.raises(ConfigError, match="names no model"):
        parse_recipe({**BASE, "rewards": [TRAINED]})


def test_several_members_stand_for_one_entry_as_an_ensemble_which_is_standardised() -> None:
    judged = {
        "name": "reward_model",
        "label": "judges",
        "weight": 2.0,
        "ensemble": {"name": "j", "coefficient": 0.5},
    }
    recipe = parse_recipe(
        {**BASE, "reward": {"members": 2}, "rewards": [NAMED, TRAINED], "evaluate": {"rewards": [judged]}}
    )
    one = {**TRAINED, "standardise": True}
    pair = [
        {**one, "label": f"reward_model_{i}", "ensemble": {"name": "reward_model", "member": i}}
        for i in (0, 1)
    ]
    assert recipe.rewards == [NAMED, *pair]
    assert recipe.stages["evaluate"]["rewards"] == [
        {
            **judged,
            "standardise": True,
            "label": f"judges_{i}",
            "ensemble": {"name": "j", "coefficient": 0.5, "member": i},
        }
        for i in (0, 1)
    ]
    again = parse_recipe({**BASE, "rewards": recipe.rewards, "stages": recipe.stages})
    assert (again.rewards, again.stages) == (recipe.rewards, recipe.stages), "as resolve reads it"
    placed = with_model({"rewards": recipe.rewards}, Path("/runs/x"))["rewards"]
    assert [each["params"]["model"] for each in placed] == ["/models/other", "/runs/x", "/runs/x/member_1"]


def test_members_of_a_recipe_pass_its_check_and_those_that_are_not_standardised_do_not(tmp_path) -> None:
    asked = {**BASE, "reward": {"members": 3}}
    check_recipe(parse_recipe(asked), tmp_path)
    assert [each["label"] for each in parse_recipe(asked).rewards] == [f"reward_model_{i}" for i in range(3)]
    plain = {**TRAINED, "standardise": False}
    with pytest.raises(ConfigError, match="reward model 'reward_model_0' has a zero and a unit of its own"):
        check_recipe(parse_recipe({**asked, "rewards": [plain]}), tmp_path)
    for members in (1, True, "3", 0):
        assert as_ensembles({"rewards": [TRAINED]}, members) == {"rewards": [TRAINED]}
    with pytest.raises(ConfigError, match=r"reward.members=0 must be >= 1"):
        check_recipe(parse_recipe({**BASE, "reward": {"members": 0}}), tmp_path)


def test_the_model_is_put_where_it_is_meant_and_nowhere_else() -> None:
    settings = {
        "evaluate": {"name": "reward_model", "rewards": [NAMED, {"name": "reward_model", "weight": 2.0}]},
        "train": {"samples": {"rewards": [TRAINED]}},
    }
    assert with_model(settings, Path("/runs/x")) == {
        "evaluate": {
            "name": "reward_model",
            "rewards": [NAMED, {"name": "reward_model", "weight": 2.0, "params": {"model": "/runs/x"}}],
        },
        "train": {
            "samples": {"rewards": [{"name": "reward_model", "params": {"form": "text", "model": "/runs/x"}}]}
        },
    }


@pytest.fixture
def settings(tmp_path: Path, reference_dir: Path) -> dict[str, Any]:
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"prompt": "red cat", "chosen": "runs", "rejected": "sleeps"}) + "\n")
    return {
        **BASE,
        "records": str(records),
        "model": str(reference_dir),
        "rewards": [TRAINED],
        "stages": {"reward": {"epochs": 2}},
    }


def resolved(settings: dict[str, Any], tmp_path: Path) -> Resolution:
    config = {"recipe": settings, "run_dir": str(tmp_path / "runs")}
    return resolve_recipe(parse_config(ResolveConfig, config, where="resolve"))


def changed(one: Resolution, other: Resolution) -> set[str]:
    return {name for name in one.plans if one.plans[name]["key"] != other.plans[name]["key"]}


AFTER_VALIDATE = {"reward", "score", "reference", "train", "baseline", "evaluate", "report", "promote"}


def test_all_that_scores_waits_for_it_and_depends_on_all_that_it_depends_on(settings, tmp_path) -> None:
    first = resolved(settings, tmp_path)
    assert [task["task"] for task in first.tasks][:3] == ["validate", "reward", "score"]
    assert changed(first, resolved(settings, tmp_path)) == set()
    settings["stages"]["reward"]["epochs"] = 3
    assert changed(first, resolved(settings, tmp_path)) == AFTER_VALIDATE
    settings["stages"]["reward"] = {"epochs": 2, "model": str(save_model(tmp_path / "base", seed=1))}
    assert changed(first, resolved(settings, tmp_path)) == AFTER_VALIDATE
    settings["stages"] = {"reward": {"epochs": 2}, "train": {"epochs": 2}}
    assert changed(first, resolved(settings, tmp_path)) == {"train", "evaluate", "report", "promote"}


def test_score_training_and_evaluation_are_told_where_it_will_lie(settings, tmp_path) -> None:
    plans = resolved(settings, tmp_path).plans
    folder = str(model_folder(tmp_path / "runs", plans["reward"]["key"]))
    for rewards in (
        plans["score"]["config"]["rewards"],
        plans["train"]["config"]["samples"]["rewards"],
        plans["evaluate"]["config"]["rewards"],
        plans["baseline"]["config"]["rewards"],
    ):
        assert [reward["params"] for reward in rewards] == [{"form": "text", "model": folder}]
    assert plans["reward"]["config"]["model"] == settings["model"]


def test_one_that_was_deleted_is_trained_again_though_a_cache_could_answer(settings, tmp_path) -> None:
    plan = resolved(settings, tmp_path).plans["reward"]
    assert "renewal" not in plan
    runs = tmp_path / "runs"
    write_record(runs, TaskRecord(stage="reward", task="reward", key=plan["key"], state="succeeded"))
    assert record_path(runs, "reward", plan["key"]).is_file()
    again = resolved(settings, tmp_path)
    assert again.plans["reward"].pop("renewal")
    assert again.plans["reward"] == plan
    folder = model_folder(runs, plan["key"])
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert resolved(settings, tmp_path).plans["reward"] == plan


def test_it_is_trained_once_and_seen_whole_or_not_at_all(tmp_path, reference_dir) -> None:
    groups = write(tmp_path / "groups", 8)
    config = RewardConfig(model=str(reference_dir), optimizer=FAST, form="text")
    folder = tmp_path / "models" / "key"
    folder.parent.mkdir()
    first = train_reward_once(config, groups, folder)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert train_reward_once(config, groups, folder) == first
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert read_manifest(folder, schema="reward_model").facts["metrics"] == first
    shutil.rmtree(folder)
    with pytest.raises(RewardError, match="hold a pair"):
        train_reward_once(RewardConfig(model=str(reference_dir), min_gap=9), groups, folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("sealed", [True, False])
def test_what_a_killed_training_left_is_used_or_taken_away(tmp_path, reference_dir, sealed) -> None:
    groups = write(tmp_path / "groups", 8)
    config = RewardConfig(model=str(reference_dir), optimizer=FAST, form="text")
    folder, part = tmp_path / "models" / "key", tmp_path / "models" / ".key.part"
    made = train_reward(config, groups, part)
    stamp = (part / "model.safetensors").stat().st_mtime_ns
    if not sealed:
        (part / "manifest.json").unlink()
        (part / ".incomplete").touch()
    assert train_reward_once(config, groups, folder) == made
    assert ((folder / "model.safetensors").stat().st_mtime_ns == stamp) == sealed
    assert list(folder.parent.iterdir()) == [folder]


def test_two_runs_that_ask_for_one_model_train_it_once(tmp_path, reference_dir, capfd) -> None:
    groups = write(tmp_path / "groups", 8)
    config = RewardConfig(model=str(reference_dir), optimizer=FAST, form="text")
    folder = tmp_path / "models" / "key"
    with ThreadPoolExecutor(1) as pool:
        with hold_folder(folder, 0.0):
            second = pool.submit(train_reward_once, config, groups, folder)
            while "waits for process" not in capfd.readouterr().err:
                time.sleep(0.01)
            made = train_reward(config, groups, folder)
            stamp = (folder / "model.safetensors").stat().st_mtime_ns
        assert second.result() == made
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp


def test_one_that_no_run_trained_is_asked_for_in_one_line() -> None:
    spec = RewardSpec("reward_model", params={"form": "text"})
    assert len(digest_of_rewards([spec])) == 64
    with pytest.raises(RewardError, match=r"^reward 'reward_model': names no model: set params\.model"):
        build_mixture([spec])(["p"], ["a"], [{}])
    with pytest.raises(ModelError, match="is no directory"):
        digest_of_rewards([RewardSpec("reward_model", params={"model": "org/name"})])
