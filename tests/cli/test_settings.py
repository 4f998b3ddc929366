"""Settings of a stage that runs alone: keys as in the whole recipe, and none that the stage does not use."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from copg.cli.renamed import RenamedError
from copg.cli.settings import shared_keys, stage_config
from copg.errors import ConfigError
from copg.run.recipe import load_recipe, parse_recipe, parse_stages
from copg.run.stage_settings import stage_settings
from copg.stages.table import EVERY

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = {
    "name": "demo",
    "records": "records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 20}}],
    "trials": [{"method": "copg", "beta": 0.05}, {"method": "ipo", "beta": 1.0}],
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path


def test_a_stage_takes_the_keys_of_the_recipe(recipe: Path) -> None:
    sets = ["train.epochs=9", "trials.0.beta=0.5", "model=owner/other"]
    config = stage_config("train", recipe, sets)
    assert (config.epochs, config.trial.beta, config.model) == (9, 0.5, "owner/other")
    # what the whole run would give it
    whole = load_recipe(recipe, sets)
    settings = stage_settings(whole, "train", run_dir=Path("runs/demo").resolve())
    assert asdict(parse_stages(whole, {"train": {**settings, "trial": whole.trials[0]}})["train"]) == {
        **asdict(config),
        "trial": {**asdict(config.trial), "method": "ipo", "beta": 1.0},  # parsed last
    }


def test_a_trial_is_taken_by_name_else_the_first(recipe: Path) -> None:
    assert stage_config("train", recipe, [], trial="ipo_1").trial.method == "ipo"
    assert stage_config("train", recipe, []).trial.method == "copg"
    with pytest.raises(ConfigError, match="trial='dpo' is unknown; use one of"):
        stage_config("train", recipe, [], trial="dpo")


def test_without_a_recipe_a_stage_has_its_own_section() -> None:
    assert stage_config("score", None, ["score.source=given"]).source == "given"
    with pytest.raises(ConfigError) as caught:
        stage_config("evaluate", None, ["train.rows.tokens_per_batch=64"])
    assert str(caught.value) == (
        "--set train.rows.tokens_per_batch=64: evaluate does not use it; it uses ['evaluate'] and below; "
        "with --recipe also ['model', 'revision', 'rewards', 'text', 'train.rows', "
        "'validate.columns']"
    )


def test_the_directory_of_the_runs_is_the_recipe_s(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stage_config("reference", recipe, []).store == f"{tmp_path}/runs/demo/store"
    assert stage_config("score", recipe, ["name=other"]).store == f"{tmp_path}/runs/other/rewards"
    assert stage_config("score", recipe, [], run_dir="mine").store == f"{tmp_path}/mine/rewards"
    with pytest.raises(ConfigError, match="on this machine the directory of the runs is a folder"):
        stage_config("score", recipe, [], run_dir="s3://bucket/runs")


@pytest.mark.parametrize(
    ("stage", "override", "allowed"),
    [
        ("score", "train.epochs=2", "score does not use it; it uses ['score', 'rewards', 'name'] and below"),
        ("score", "placement.shards=2", "score does not use it"),
        ("reference", "train.epochs=2", "'train.rows'] and below"),
        ("reference", "train={rows: {}}", "reference does not use it"),
        (
            "validate",
            "train.epochs=2",
            "'model', 'revision', 'text', 'reference.max_tokens'] and",
        ),
        ("train", "trial.beta=2", "set trials.0.beta=2 for the first trial"),
    ],
)
def test_a_key_without_effect_on_the_stage_is_refused(
    recipe: Path, stage: str, override: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        stage_config(stage, recipe, [override])
    assert str(caught.value).startswith(f"--set {override}: ")
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "old", "new"),
    [
        ("train", "rows.tokens_per_batch=64", "train.rows.tokens_per_batch=64"),
        ("train", "epochs=2", "train.epochs=2"),
        ("validate", "subset=main", "validate.subset=main"),
        ("promote", "max_kl=3", "promote.max_kl=3"),
    ],
)
def test_a_key_that_starts_from_the_stage_is_told_in_the_new_spelling(
    recipe: Path, stage: str, old: str, new: str
) -> None:
    for path in (recipe, None):
        with pytest.raises(RenamedError, match=f"keys start from the recipe now: --set {new}$"):
            stage_config(stage, path, [old])


@pytest.mark.parametrize("stage", EVERY)
def test_the_keys_that_a_stage_shares_are_those_that_change_its_settings(stage: str) -> None:
    other = {
        "name": "other",
        "records": "other.jsonl",
        "model": "owner/other",
        "revision": "main",
        "tracking": "http://other",
        "rewards": [{"name": "rouge"}],
        "text": {"special_tokens": "tokens"},
        "reference.max_tokens": 64,
        "validate.reader": {"max_dropped_fraction": 0.5},
        "train.rows": {"tokens_per_batch": 64},
        "train.epochs": 3,
        "report_beta": 0.5,
        "promote.max_kl": 3.0,
        "promote.min_gain": 0.25,
        "promote.error": {"budget": 0.1},
        "promote.guards": {"margin": 0.1},
        "validate.columns": {"cluster": "document"},
        "promote.keep": 2,
    }

    def settings(values: dict[str, Any]) -> dict[str, Any]:
        recipe = parse_recipe(values)
        return stage_settings(recipe, stage, run_dir=Path("/runs") / recipe.name)

    before, changing = settings(VALUES), {"trials"} & set(shared_keys(stage))
    for key, value in other.items():
        section, _, name = key.partition(".")
        changed = {**VALUES, section: {name: value} if name else value}
        if section != stage and settings(changed) != before:
            changing.add(key)
    assert set(shared_keys(stage)) == changing


def test_a_trial_is_no_setting_of_train() -> None:
    with pytest.raises(ConfigError, match=r"train\.trial comes from trials: set it there"):
        parse_recipe({**VALUES, "train": {"trial": {"beta": 1}}})


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/data/0.1.0/recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_a_recipe_of_0_1_0_still_says_what_it_said(path: Path) -> None:
    recipe = load_recipe(path)
    planned = {stage: stage_settings(recipe, stage, run_dir=Path("/runs")) for stage in recipe.planned}
    assert set(parse_stages(recipe, planned)) == set(planned)
    if (
        path.stem == "pythia-6.9b_tldr_gpus"
    ):  # of four shards, its run would be heavier than a server can follow
        recipe.placement["shards"] = 2
    if path.stem == "demo":  # its rate was too high, its last beta ran away, its clip was in reward units
        optimizer = {"learning_rate": 1e-4, "max_grad_norm": 100.0}
        recipe.stages["train"] |= {"epochs": 2, "optimizer": optimizer}
        for trial, beta in zip(recipe.trials, (0.25, 0.1, 0.05), strict=False):
            trial["beta"] = beta
    assert recipe == load_recipe(ROOT / "pipelines/recipes" / path.name)
