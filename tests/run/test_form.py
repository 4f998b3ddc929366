"""What people turn in a pipeline's form, folded into the recipe."""

from dataclasses import fields
from typing import Any

import pytest

from copg.errors import ConfigError
from copg.run.form import folded, unfolded
from copg.run.recipe import Recipe, parse_recipe

RECIPE: dict[str, Any] = {
    "name": "demo",
    "records": "/runs/records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 20}}],
    "trials": [
        {"method": "copg", "beta": 0.05, "seed": 3, "name": "mild"},
        {"beta": 0.1, "seed": 3, "method": "copg"},
    ],
    "revision": "abc",
    "tracking": "http://mlflow:5000",
    "report_beta": 0.1,
    "text": {"system": "Be brief."},
    "train": {"epochs": 2, "groups_per_step": 8},
    "promote": {"min_gain": 0.1},
}


def turned(**form: Any) -> dict[str, Any]:
    return folded(unfolded(parse_recipe(RECIPE)) | form)[0]


def test_a_recipe_whose_form_nobody_turned_is_what_it_was() -> None:
    recipe = parse_recipe(RECIPE)
    untold = [each.name for each in fields(Recipe) if not getattr(recipe, each.name)]
    assert untold == ["placement"]  # else the rest would be compared with nothing
    parameters = unfolded(recipe, tasks_at_once=2)
    assert len(parameters) == 9  # ten with the directory of the runs
    values, at_once = folded(parameters)
    assert (parse_recipe(values), at_once) == (recipe, 2)
    assert folded(unfolded(recipe))[1] == 0


def test_a_recipe_without_revision_and_tracking_has_no_more_settings_than_its_stages() -> None:
    plain = parse_recipe({**RECIPE, "revision": None, "tracking": "", "text": {}, "report_beta": None})
    assert unfolded(plain)["settings"] == plain.stages
    assert parse_recipe(folded(unfolded(plain))[0]) == plain


def test_epochs_and_the_bound_of_kl_are_laid_over_the_settings() -> None:
    found = turned(epochs=4.0, max_kl=12.0)
    assert found["stages"]["train"] == {"epochs": 4.0, "groups_per_step": 8}
    assert found["stages"]["promote"] == {"min_gain": 0.1, "max_kl": 12.0}
    assert parse_recipe(RECIPE).stages["train"]["epochs"] == 2  # the recipe itself is left alone


def test_betas_make_a_trial_each_and_keep_all_else() -> None:
    copg = {"method": "copg", "seed": 3}
    assert turned(betas=[0.2, 0.3])["trials"] == [{**copg, "beta": 0.2}, {**copg, "beta": 0.3}]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"method": "ipo", "beta": 1}, r"the trials have several methods \(copg, ipo\)"),
        ({"beta": 1, "seed": 4}, "the trials differ in more than beta"),
    ],
)
def test_betas_that_could_be_of_several_trials_are_refused(second: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=rf"betas=\[0\.2\]: {why}"):
        turned(betas=[0.2], trials=[RECIPE["trials"][0], second])
