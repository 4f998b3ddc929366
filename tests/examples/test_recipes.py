"""Every recipe can be run as it stands: its keys exist and its settings are in range."""

import re
from pathlib import Path

import pytest

from copg.run.recipe import STAGES, load_recipe, parse_stages
from copg.run.stage_settings import stage_settings

RECIPES = sorted((Path(__file__).parent.parent.parent / "pipelines" / "recipes").glob("*.yaml"))


def test_there_are_recipes_for_a_laptop_for_real_records_and_for_gpus() -> None:
    names = {path.stem for path in RECIPES}
    assert {"demo", "tiny-llama_scitldr_cpu", "pythia-1b_tldr_1gpu", "pythia-6.9b_tldr_gpus"} <= names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid_for_every_stage_and_every_trial(path: Path) -> None:
    recipe = load_recipe(path)
    settings = {stage: stage_settings(recipe, stage, run_dir=Path("/runs")) for stage in STAGES}
    assert set(parse_stages(recipe, settings)) == set(STAGES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_named_by_model_data_and_hardware(path: Path) -> None:
    assert path.stem == "demo" or re.fullmatch(r"[a-z0-9.-]+_[a-z0-9.-]+_[a-z0-9.-]+", path.stem)


def test_the_demo_compares_copg_at_three_betas_with_ipo_and_dpo() -> None:
    [demo] = [path for path in RECIPES if path.stem == "demo"]
    trials = load_recipe(demo).trials
    assert [trial["method"] for trial in trials].count("copg") == 3
    assert {"ipo", "dpo"} <= {trial["method"] for trial in trials}
