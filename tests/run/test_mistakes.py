"""One mistake is one line, by the name that the user wrote, whichever stages meet it."""

from pathlib import Path
from typing import Any

import pytest

from copg.errors import ConfigError
from copg.run.check import mistakes_of
from copg.run.mistakes import apart
from copg.run.recipe import parse_recipe

RECIPE: dict[str, Any] = {
    "name": "x",
    "records": "r",
    "model": "m",
    "rewards": [{"name": "length", "params": {"max": 9}}],
    "trials": [{"beta": 1}],
}


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(values)
    return str(caught.value)


def mistakes(**changes: Any) -> list[str]:
    try:
        recipe = parse_recipe({**RECIPE, **changes})
    except ConfigError as error:
        return apart(str(error))
    return mistakes_of(recipe, Path("/nowhere"))


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"report_beta": -1}, "report_beta=-1.0 must be > 0"),
        ({"promote": {"error": {"budget": 5}}}, "promote.error.budget=5.0 must be "),
        ({"promote": {"guards": {"reward": []}}}, "promote.guards.reward is unknown"),
        ({"promote": {"max_kl": "x"}}, "promote.max_kl='x' must be "),
        ({"validate": {"columns": {"cluster": 5}}}, "validate.columns.cluster=5 must be a text"),
        ({"train": {"rows": {"tile_tokens": 0}}}, "train.rows.tile_tokens=0 must be >= 1"),
        ({"reference": {"max_tokens": -1}}, "reference.max_tokens=-1 must be >= "),
        ({"text": {"thinking": "no"}}, "text.thinking='no' must be "),
        ({"tracking": "http://me:word@box"}, "recipe.tracking has user info in its address"),
        ({"train": 5}, "recipe.train=5 must be keys and values"),
        ({"sample": [4]}, "recipe.sample=[4] must be keys and values"),
    ],
)
def test_what_several_stages_read_is_told_once_by_its_key_in_the_recipe(
    changes: dict[str, Any], begins: str
) -> None:
    (line,) = mistakes(**changes)
    assert line.startswith(begins)


def test_a_key_that_is_missing_since_it_is_misspelt_is_told_once() -> None:
    told = "; ".join(mistakes(trials=[{"betta": 1}]))
    assert told.startswith("trial copg: betta is unknown; use one of [")
    assert told.endswith("; did you mean 'beta'?")
    assert "missing" not in told
    misspelt = {key.replace("records", "recrods"): value for key, value in RECIPE.items()}
    told = refused(misspelt)
    assert told.startswith("recipe.recrods is unknown; ")
    assert told.endswith("; did you mean 'records'?")
    without = {key: value for key, value in misspelt.items() if key != "model"}
    assert "recipe.model is missing" in refused(without)


def test_trial_at_the_top_is_trials() -> None:
    assert refused({**RECIPE, "trial": {"beta": 1}}).endswith("; did you mean 'trials'?")
