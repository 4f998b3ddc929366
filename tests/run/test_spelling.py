"""An address whose slashes are wrong is no folder: it is refused with the spelling that is meant."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.target import Target

from copg.cli import main as command_line
from copg.errors import ADDRESS, ConfigError
from copg.run import spelling
from copg.run.check import check_recipe
from copg.run.recipe import load_recipe, parse_recipe
from copg.run.spelling import address_meant, check_spelling
from tests.test_secrets import SETTINGS, settle

RECIPE: dict[str, Any] = {
    "name": "x",
    "records": "records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"max": 5}}],
    "trials": [{"beta": 1.0}],
}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket/x", "s3://bucket/x"),
        ("s3//bucket/x", "s3://bucket/x"),
        ("s3:///bucket/x", "s3://bucket/x"),
        (r"s3:\\bucket/x", "s3://bucket/x"),
        ("S3:/bucket", "s3://bucket"),
        ("gs:/bucket/a b", "gs://bucket/a b"),
        ("minio:/bucket", "minio://bucket"),
        ("abfss:/container@account/x", "abfss://container@account/x"),
        ("http:/localhost:5000", "http://localhost:5000"),
        ("https:localhost", "https://localhost"),
        ("file:/runs/store", "file:///runs/store"),
        ("file:runs", "file:///runs"),
        ("sqlite:/runs/mlflow.db", "sqlite:////runs/mlflow.db"),
        ("sqlite://mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_slashes_that_are_too_few_or_too_many_are_seen(written: str, meant: str) -> None:
    assert address_meant(written) == meant
    assert address_meant(meant) == "", "what is proposed is right"


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/x//y",
        "http://localhost:5000",
        "file:///runs",
        "file://host/runs",
        "sqlite:///mlflow.db",
        "sqlite:////runs/mlflow.db",
        "/runs/s3:/x",
        "./s3/x",
        "gs/x",
        "http: see below",
        "https?://.*",
        "file:8080",
        "C:/models",
        "mine.py:score",
        "registry:5000/copg",
        "",
    ],
)
def test_what_is_an_address_or_none_is_left_alone(text: str) -> None:
    assert address_meant(text) == ""
    check_spelling({"a": text}, "")


def test_any_setting_of_a_recipe_may_be_an_address_and_is_refused_by_its_name() -> None:
    for setting in sorted(set(SETTINGS)):
        told = rf"{setting.replace('.N.', '.0.')}.* begins with 'minio:/', .*did you mean 'minio://bucket/x'"
        with pytest.raises(ConfigError, match=told):
            parse_recipe(settle(RECIPE, setting.split("."), "minio:/bucket/x"))


def test_a_reward_of_the_user_s_own_may_stand_in_a_module_of_that_name() -> None:
    own = parse_recipe({**RECIPE, "rewards": [{"name": "file:score"}]})
    assert own.rewards == [{"name": "file:score"}]


def test_a_recipe_that_runs_here_is_told_what_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for key, values in (("score", {"store": "s3:/bucket/x"}), ("records", "s3:/bucket/x.jsonl")):
        path.write_text(yaml.safe_dump({**RECIPE, key: values}))
        with pytest.raises(
            ConfigError, match=r"x.yaml: (score.store|records) begins with 's3:/'.*'s3://bucket"
        ):
            load_recipe(path, here=tmp_path)
    path.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(ConfigError, match=r"train\.checkpoint\.folder begins with 's3:/'"):
        load_recipe(path, ["train.checkpoint.folder=s3:/bucket/x"], here=tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "run align --recipe {recipe} --on local --run-dir s3:/bucket/x",
        "store stats s3:/bucket/x",
        "champion show --name x --tracking http:/localhost:5000",
        "init y.yaml --records s3:/bucket/x --model owner/model",
        "score --groups {folder} --scored s3:/bucket/x",
        "score --groups {folder} --scored s3://bucket/x",
        "score --groups {folder} --scored scored --set score.store=s3:/bucket/x",
        "run align --recipe {recipe} --on cluster --pipeline-root s3:/bucket/x",
    ],
)
def test_on_the_command_line_it_is_one_line_and_no_folder_is_made(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    typed = words.format(recipe=tmp_path / "recipe.yaml", folder=tmp_path).split()
    monkeypatch.setattr(sys, "argv", ["copg", *typed])
    with pytest.raises(SystemExit, match="1"):
        command_line.main()
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert any(each in told for each in ("s3://bucket/x", "http://localhost", "run_dir='s3:/bucket/x'")), told
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_root_of_a_pipeline_is_held_to_the_same() -> None:
    assert Target(dag="align", pipeline_root="gs://bucket/x").pipeline_root == "gs://bucket/x"
    with pytest.raises(ConfigError, match="--pipeline-root begins with 'gs:/'"):
        Target(dag="align", pipeline_root="gs:/bucket/x")


@pytest.mark.parametrize("address", ["s3://", "gs:///", "https://", "sqlite:///", "ABFSS://"])
def test_an_address_of_nothing_is_told_as_that(address: str) -> None:
    assert spelling.ADDRESS is ADDRESS, "what is an address is said in one place"
    assert spelling.is_address(address)
    assert address_meant(address) == ""
    with pytest.raises(ConfigError, match=rf"score\.store='{address}' names nothing behind its scheme"):
        parse_recipe({**RECIPE, "score": {"store": address}})


@pytest.mark.parametrize(
    ("tracking", "meant"),
    [
        ("./mlruns", "sqlite:///mlruns/mlflow.db"),
        ("/data/mlruns/", "sqlite:////data/mlruns/mlflow.db"),
        ("file:///data/mlruns", "sqlite:////data/mlruns/mlflow.db"),
        ("mlflow.db", "sqlite:///mlflow.db"),
        ("box:5000", "http://box:5000"),
    ],
)
def test_a_tracker_that_is_a_path_is_told_before_anything_is_trained(
    tracking: str, meant: str, tmp_path: Path
) -> None:
    for key, change in (
        ("tracking", {"tracking": tracking}),
        ("train.tracking.uri", {"train": {"tracking": {"uri": tracking}}}),
        ("promote.tracking_uri", {"promote": {"tracking_uri": tracking}}),
    ):
        with pytest.raises(ConfigError, match=rf"{re.escape(f'{key}={tracking!r}')}.* '{meant}'\?$"):
            check_recipe(parse_recipe({**RECIPE, **change}), tmp_path)
    for good in ("databricks", "postgresql://host/db", meant):
        check_recipe(parse_recipe({**RECIPE, "tracking": good}), tmp_path)


@pytest.mark.parametrize(
    "change", [{"records": "s3://b/x.jsonl"}, {"model": "s3://b/m"}, {"train": {"start_from": "gs://b/m"}}]
)
def test_records_and_models_at_an_address_are_told_where_they_are_read(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"is an address: .*copy it to such a place, or mount it there$"):
        check_recipe(parse_recipe({**RECIPE, **change}), tmp_path)


def test_a_scheme_that_its_library_brings_is_known_and_asked_for_where_tasks_run(
    tmp_path: Path,
) -> None:
    azure = parse_recipe({**RECIPE, "score": {"store": "abfss://runs@account.dfs.core.windows.net/x"}})
    check_recipe(azure, tmp_path)
    with pytest.raises(ConfigError, match=r"abfss:// needs a library that is missing: pip install adlfs$"):
        check_recipe(azure, tmp_path, library=True)
