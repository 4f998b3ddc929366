"""Folders that are not there, or are none, are told before a run asks for them."""

import json
from pathlib import Path

import pytest

from copg.errors import ConfigError
from copg.run.check import check_recipe
from copg.run.first_folders import of_no_effect, of_others, of_root, of_stores
from copg.run.recipe import Recipe, parse_recipe


def recipe(**sections: object) -> Recipe:
    rewards = [{"name": "length", "params": {"max": 9}}]
    return parse_recipe(
        {"name": "x", "records": "r", "model": "m", "rewards": rewards, "trials": [{"beta": 1}], **sections}
    )


@pytest.mark.parametrize(
    ("section", "key"),
    [("train", "start_from"), ("reward", "model"), ("sample", "model"), ("validate", "reader")],
)
def test_models_of_sections_that_are_not_there_are_told(section: str, key: str) -> None:
    value = {"model": "./nowhere/at/all"} if key == "reader" else "./nowhere/at/all"
    name = f"{section}.{key}.model" if key == "reader" else f"{section}.{key}"
    assert [*of_others(recipe(**{section: {key: value}}))] == [
        f"{name}='./nowhere/at/all': no such directory"
    ]
    hub = {"model": "owner/name"} if key == "reader" else "owner/name"
    assert [*of_others(recipe(**{section: {key: hub}}))] == []


def test_a_folder_of_a_section_is_looked_into_and_who_only_reads_needs_no_weights(tmp_path: Path) -> None:
    (told,) = of_others(recipe(train={"start_from": str(tmp_path)}))
    assert told == f"train.start_from: {tmp_path}: no model directory, 'config.json' is missing"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert [*of_others(recipe(validate={"reader": {"model": str(tmp_path)}}))] == []
    (told,) = of_others(recipe(sample={"model": str(tmp_path)}))
    assert told.startswith(f"sample.model: {tmp_path}: no *.safetensors weights")


def test_runs_under_a_file_are_told_and_under_a_folder_that_is_to_be_made_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        assert [*of_root(root)] == [f"run_dir={root}: {tmp_path}/file is a file; a folder is needed there"]
    assert [*of_root(tmp_path / "a" / "b")] == []


@pytest.mark.parametrize(
    "key", ["score.store", "reference.store", "train.checkpoint.folder", "promote.champions"]
)
def test_a_store_under_a_file_is_told_where_its_tasks_run(key: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = str(tmp_path / "file" / "below")
    section, *inside = key.split(".")
    value = {inside[-1]: store}
    asked = recipe(**{section: {inside[0]: value} if len(inside) > 1 else value})
    told = f"{key}={store!r}: {tmp_path}/file is a file; a folder is needed there"
    assert [*of_stores(asked)] == [told]
    with pytest.raises(ConfigError) as caught:
        check_recipe(asked, tmp_path / "runs", library=True)
    assert str(caught.value) == told
    check_recipe(asked, tmp_path / "runs")  # by somebody who sees other folders than the tasks
    assert [*of_stores(recipe(score={"store": str(tmp_path / "to" / "be" / "made")}))] == []
    assert [*of_stores(recipe(score={"store": "s3://bucket/x"}))] == []


def test_what_chooses_among_the_hub_s_is_told_beside_folders_of_this_machine(tmp_path: Path) -> None:
    folder = str(tmp_path)
    chosen = recipe(
        model=folder,
        revision="v1",
        records="./records.jsonl",
        validate={"subset": "main", "dataset_split": "train"},
        train={"start_from": "owner/name", "start_revision": "v2"},
    )
    assert [*of_no_effect(chosen)] == [
        f"revision='v1' has no effect: model={folder!r} is of this machine",
        "validate.subset='main' has no effect: records='./records.jsonl' is of this machine",
    ]
    assert [*of_no_effect(recipe(model="owner/name", revision="v1", validate={"revision": "v1"}))] == []
