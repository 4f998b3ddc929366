from pathlib import Path
from typing import Any

import pytest
import yaml

from copg.errors import ConfigError
from copg.run.recipe import Recipe, load_recipe, parse_recipe
from copg.run.recipe_paths import make_absolute
from copg.run.stage_settings import stage_settings

VALUES: dict[str, Any] = {
    "name": "demo",
    "records": "records.jsonl",
    "model": "model",
    "rewards": [{"name": "length"}],
    "trials": [{"method": "copg", "beta": 0.05}, {"method": "ipo", "beta": 1.0}],
    "text": {"thinking": "strip"},
    "train": {"epochs": 2, "rows": {"tokens_per_batch": 512}},
}


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**VALUES, **changes}))
    return path


def test_a_recipe_is_read_with_its_overrides(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["train.epochs=3", "name=other"])
    assert (recipe.name, recipe.stages["train"]) == (
        "other",
        {"epochs": 3, "rows": {"tokens_per_batch": 512}},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": []}, "recipe.trails is unknown; use one of"),
        ({"trials": []}, "trials is empty: name at least one"),
        ({"name": "a/b"}, "name='a/b' must be letters"),
        (
            {"trials": [{"beta": 1}, {"beta": 1.0, "seed": 2}]},
            "2 trials are called 'copg_1': give each a 'name'",
        ),
        ({"trials": [{"name": "../x", "beta": 1}]}, "trial name='../x' must be letters"),
        ({"trials": [{"name": "reference", "beta": 1}]}, "is taken by the baselines"),
        ({"rewards": "length"}, "recipe.rewards='length'"),
        ({"train": [1]}, "recipe.train=[1]"),
        ({"train": []}, "recipe.train=[]"),
        ({"sample": False}, "recipe.sample=False must be keys and values"),
        ({"stages": [1]}, "recipe.stages=[1] must be keys, each with keys and values"),
        (
            {"stages": {"train": {"epochs": 3}}},
            "['train'] are given both at the top of the recipe and in its",
        ),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_file(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe(written(tmp_path, **changes))
    assert str(error.value).startswith(str(tmp_path / "recipe.yaml"))
    assert message in str(error.value)


def test_all_mistakes_in_the_keys_of_a_recipe_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_recipe(written(tmp_path, trails=[], name="a/b", trials=[{"beta": 1}, {"beta": 1}]))
    for mistake in ("recipe.trails is unknown", "name='a/b' must be letters", "2 trials are called 'copg_1'"):
        assert str(error.value).count(mistake) == 1


def test_relative_paths_start_from_the_recipes_folder_and_hub_names_stay(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = written(
        tmp_path,
        records="../data/records.jsonl",
        rewards=[
            {"name": "mine.py:score"},
            {"name": "reward_model", "params": {"model": "../reward", "form": "text"}},
            {"name": "package.module:score"},
        ],
        reference={"store": "store"},
        train={"checkpoint": {"folder": "s3://bucket/checkpoints"}},
    )
    recipe = load_recipe(path, here=Path("/elsewhere"))
    assert recipe.records == str(tmp_path.parent / "data/records.jsonl")
    assert recipe.model == str(tmp_path / "model")
    assert [reward["name"] for reward in recipe.rewards] == [
        f"{tmp_path}/mine.py:score",
        "reward_model",
        "package.module:score",
    ]
    assert recipe.rewards[1]["params"] == {"model": str(tmp_path.parent / "reward"), "form": "text"}
    assert recipe.stages["reference"]["store"] == str(tmp_path / "store")
    assert recipe.stages["train"]["checkpoint"]["folder"] == "s3://bucket/checkpoints"
    hub = load_recipe(written(tmp_path, model="owner/model", records="owner/data"), here=tmp_path)
    assert (hub.model, hub.records) == ("owner/model", "owner/data")


def test_relative_paths_of_the_command_line_start_where_it_is_given(tmp_path: Path) -> None:
    overrides = ["records=./more.jsonl", "reference.store=s"]
    recipe = load_recipe(written(tmp_path), overrides, here=Path("/elsewhere"))
    assert recipe.records == "/elsewhere/more.jsonl"
    assert recipe.stages["reference"]["store"] == "/elsewhere/s"


def test_paths_stay_as_written_for_another_machine(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path), ["model=./m"]).model == "./m"
    assert load_recipe(written(tmp_path)).records == "records.jsonl"


def test_what_is_said_once_reaches_every_stage_that_needs_it() -> None:
    recipe = parse_recipe(VALUES)
    run_dir = Path("/runs/demo")
    train = stage_settings(recipe, "train", run_dir=run_dir, revision="c0ffee")
    assert train == {
        "model": "model",
        "revision": "c0ffee",
        "model_digest": "",
        "epochs": 2,
        "rows": {"tokens_per_batch": 512},
        "text": {"thinking": "strip"},
        "checkpoint": {"folder": "/runs/demo/checkpoints"},
        "samples": {"rewards": [{"name": "length"}]},
        "tracking": {"uri": "sqlite:////runs/demo/mlflow.db", "experiment": "demo"},
    }
    reference = stage_settings(recipe, "reference", run_dir=run_dir, model_digest="d")
    evaluate = stage_settings(recipe, "evaluate", run_dir=run_dir)
    assert reference["text"] == evaluate["text"] == train["text"], "what is scored is what is drawn"
    assert reference["rows"] == {"tokens_per_batch": 512}, "train must meet the reference in the same rows"
    assert (reference["store"], reference["model_digest"]) == ("/runs/demo/store", "d")


def test_the_beta_of_the_report_reaches_the_card_where_one_is_given() -> None:
    plain, priced = parse_recipe(VALUES), parse_recipe({**VALUES, "report_beta": 0.5})
    for stage in ("report", "promote"):
        assert stage_settings(priced, stage, run_dir=Path("/r"))["report_beta"] == 0.5
    assert "report_beta" not in stage_settings(plain, "promote", run_dir=Path("/r"))


def test_a_section_overrides_what_is_said_once() -> None:
    recipe = parse_recipe({**VALUES, "train": {"checkpoint": {"keep": 5}, "samples": {"rewards": []}}})
    train = stage_settings(recipe, "train", run_dir=Path("/r"))
    assert train["checkpoint"] == {"folder": "/r/checkpoints", "keep": 5}
    assert train["samples"] == {"rewards": []}


def test_a_recipe_built_in_code_is_checked_too() -> None:
    with pytest.raises(ValueError, match="stages \\['samples'\\] are unknown"):
        Recipe(name="a", records="r", model="m", trials=[{"beta": 1}], stages={"samples": {}})


@pytest.mark.parametrize("value", ["~nobody_of_that_name/a", "./circle"])
@pytest.mark.parametrize("key", ["records", "model", "rewards"])
def test_a_path_that_leads_nowhere_is_one_line(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    item = [{"name": "rouge", "params": {"a": "./circle"}}] if key == "rewards" else value
    with pytest.raises(ConfigError, match=rf"^{key}=.* is no path: "):
        make_absolute({key: item}, [key], tmp_path)
