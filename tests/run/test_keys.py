"""The keys of a recipe as people look them up: all there, each with its meaning, defaults that are true."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.placement.config import parse_placement

from copg.config import parse_config
from copg.errors import ConfigError
from copg.rewards import REWARDS
from copg.run.keys import BELOW, Key
from copg.run.keys_shown import keys_in, render_page, section_names, show_keys
from copg.run.recipe import Recipe, config_class, parse_recipe
from copg.run.shared import ORIGINS
from copg.run.stage_settings import stage_settings
from copg.run.yaml_file import set_value
from copg.stages.table import EVERY

ROOT = Path(__file__).parents[2]
SECTIONS = {"placement": parse_placement}


def found(section: str) -> dict[str, Key]:
    return {key.name: key for key in keys_in(section, SECTIONS)}


def test_the_page_of_the_documentation_is_what_the_configurations_say() -> None:
    told = "docs/recipe.md is not what the configurations say: copg settings --page > docs/recipe.md"
    assert (ROOT / "docs/recipe.md").read_text() == render_page(SECTIONS), told


@pytest.mark.parametrize("section", section_names(SECTIONS))
def test_every_key_says_what_it_is_for(section: str) -> None:
    keys = found(section)
    assert keys or section in ("rewards.rouge_l",)
    assert [name for name, key in keys.items() if not (key.meaning and key.allowed)] == []


def test_every_field_of_every_section_is_there() -> None:
    # what resolve and a run fill in, and what the recipe calls otherwise
    filled = {"records_digest", "model_digest", "start_digest", "lineage", "tags", "replaces", "run_id"}
    filled |= {"trial", "method", "beta", "pilot"}
    for stage in EVERY:
        keys = found(stage)
        for each in fields(config_class(stage)):
            assert (
                f"{stage}.{each.name}" in keys
                or each.name in filled
                or (stage, each.name) == ("evaluate", "name")
            )
    assert {each.name for each in fields(Recipe)} - set(found("recipe")) == {"stages", "placement"}


def test_a_default_is_what_a_recipe_without_the_key_gets() -> None:
    recipe = parse_recipe(
        {
            "name": "x",
            "records": "r",
            "model": "m",
            "trials": [{"beta": 1}],
            "rewards": [{"name": "rouge"}],
            "reward": {},
        }
    )
    checked = 0
    for stage in EVERY:
        settings = stage_settings(recipe, stage, run_dir=Path("RUN_DIR"))
        more: dict[str, Any] = {"trial": {"beta": 1}} if stage == "train" else {}
        config = parse_config(config_class(stage), {**settings, **more}, where=stage)
        for key in found(stage).values():
            value: Any = config
            for part in key.name.split(".")[1:]:
                value = getattr(value, part, None) if value is not None else None
            if (
                key.default == BELOW
                or key.default.startswith("as ")
                or ".num_prompts." in key.name
                or ".lora." in key.name
                or "sample.endpoint." in key.name
            ):
                continue
            assert yaml.safe_load(key.default.replace("e-", ".0e-")) == value, key
            checked += 1
    assert checked > 60


@pytest.mark.parametrize("key", ORIGINS)
def test_what_is_taken_from_the_recipe_follows_it(key: str) -> None:
    other = {
        "name": "other",
        "model": "other",
        "revision": "other",
        "tracking": "http://other",
        "rewards": [{"name": "chrf"}],
        "text": {"special_tokens": "tokens"},
        "reference.max_tokens": 64,
        "train.rows": {"tokens_per_batch": 64},
        "promote.max_kl": 3.0,
        "promote.min_gain": 0.25,
        "promote.error": {"budget": 0.01},
        "promote.guards": {"max_unfinished": 0.1},
        "validate.columns.cluster": "document",
        "report_beta": 0.5,
        "evaluate.generation.max_new_tokens": 17,
    }
    value = other[ORIGINS[key]]
    base: dict[str, Any] = {
        "name": "x",
        "records": "r",
        "model": "m",
        "trials": [{"beta": 1}],
        "rewards": [{"name": "rouge"}],
    }
    set_value(base, f"{ORIGINS[key]}={json.dumps(value)}")
    recipe = parse_recipe(base)
    stage, *parts = key.split(".")
    here: Any = stage_settings(recipe, stage, run_dir=Path("/runs"))
    for part in parts:
        here = here[part]
    assert here == value


def test_names_and_bounds_are_told() -> None:
    recipe, train = found("recipe"), found("train")
    assert "copg, " in recipe["trials.N.method"].allowed
    assert set(recipe["rewards.N.name"].allowed.split(", ")) == set(REWARDS)
    assert train["train.optimizer.learning_rate"].default == "null"
    assert train["train.optimizer.learning_rate"].allowed == "a number > 0 or null"
    assert found("reward")["reward.optimizer.warmup_fraction"].allowed == "a number in [0, 1]"
    assert train["train.launch.sharding"].allowed == "'ddp' or 'fsdp2'"
    assert found("score")["score.store"].default == "RUN_DIR/rewards"
    assert found("evaluate")["evaluate.rows"].default == "as train.rows"
    assert found("placement")["placement.defaults.memory.limit"].default == "8Gi"


def test_a_terminal_gets_the_same() -> None:
    lines = [*show_keys(keys_in("promote", SECTIONS))]
    at = lines.index("promote.max_kl: 20.0")
    assert lines[at + 1 : at + 3] == [
        "    a number > 0",
        "    Nats a completion: the upper end of the KL's interval may not exceed it.",
    ]
    assert "records  (must be given)" in [*show_keys(keys_in("recipe", SECTIONS))]


def test_a_key_at_dots_is_shown_with_what_is_inside_of_it() -> None:
    assert {*found("train.optimizer")} == {name for name in found("train") if "train.optimizer" in name}
    assert [*found("train.optimizer.learning_rate")] == ["train.optimizer.learning_rate"]
    assert "trials.N.beta" in found("trials.0.beta")
    assert "rewards.N.weight" in found("rewards")
    assert [*found("rewards.N.weight")] == ["rewards.N.weight"]
    assert "placement.defaults.memory.limit" in found("placement.defaults")
    assert [*found("text.thinking")] == [*found("recipe.text.thinking")] == ["text.thinking"]
    assert [*found("tracking")] == ["tracking"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("train.optimiser", r"use one of \[.*'train\.epochs'.*did you mean 'train\.optimizer'\?$"),
        (
            "train.optimizer.lr",
            r"one of \['train\.optimizer\.learning_rate', 'train\.optimizer\.weight_decay', ",
        ),
        ("trian.optimizer", r"use one of \['recipe', 'validate'.*\].*did you mean 'train\.optimizer'\?$"),
        ("trials.N.betta", r"did you mean 'trials\.N\.beta'\?$"),
    ],
)
def test_a_key_at_dots_that_there_is_not_is_told_with_the_nearest(asked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^section='{re.escape(asked)}' is unknown; .*{told}"):
        keys_in(asked, SECTIONS)


def test_a_section_that_there_is_not_is_told_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"section='trian' is unknown; use one of .* did you mean 'train'\?$"
    ):
        keys_in("trian", SECTIONS)


def test_a_trial_that_compares_with_other_prompts_has_the_reference_keep_their_completions() -> None:
    def settings(*trials: dict[str, Any], **sections: Any) -> dict[str, Any]:
        base = {"name": "x", "records": "r", "model": "m", "rewards": [{"name": "rouge"}]}
        recipe = parse_recipe({**base, "trials": list(trials), **sections})
        return stage_settings(recipe, "reference", run_dir=Path("/runs"))

    kto = {"method": "kto", "beta": 0.1}
    assert "mismatched" not in settings({"beta": 1})
    assert settings({"beta": 1}, kto)["mismatched"] is True
    assert settings(kto, reference={"mismatched": False})["mismatched"] is False
