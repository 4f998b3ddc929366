"""No password in an address is written or printed: recipes that hold one are refused, and runs leave none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.placement.config import PlacementConfig, parse_placement
from copg_pipelines.server.connection import Connection

from copg.cli.main import main
from copg.config import check_address
from copg.errors import ConfigError, CopgError, TrackingError, without_secrets
from copg.run.recipe import parse_recipe
from copg.tracking.mlflow import one_line_errors
from tests import tiny

TOKEN = "s3cr3t-t0k3n"
PLANTED = [
    f"https://ada:{TOKEN}@host.example/v1",
    f"s3://{TOKEN}@bucket/runs",
    f"http://h.example:5/a?key={TOKEN}",
]
RECIPE: dict[str, Any] = {
    "name": "x",
    "records": "records.jsonl",
    "model": "./model",
    "tracking": "http://mlflow.example:5000",
    "rewards": [
        {"name": "length", "params": {"max": 8}},
        {"name": "judge", "params": {"url": "https://judge.example/v1", "model": "m", "rubric": "r"}},
    ],
    "trials": [{"method": "copg", "beta": 0.1}],
    "score": {"store": "s3://bucket/rewards"},
    "reference": {"store": "s3://bucket/references"},
    "train": {
        "checkpoint": {"folder": "s3://bucket/checkpoints"},
        "tracking": {"uri": "http://other.example"},
    },
    "promote": {"tracking_uri": "http://mlflow.example:5000", "champions": "gs://bucket/champions"},
    "placement": {
        "stores": {
            "rewards": "s3://bucket/r",
            "references": "s3://bucket/s",
            "checkpoints": "s3://bucket/c",
            "champions": "s3://bucket/p",
            "tracking": "http://mlflow.example:5000",
            "minio": {"endpoint": "http://minio.example:9000"},
        }
    },
}
"""With every setting that is an address."""


def addresses(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the addresses stand in nested values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from addresses(item, (*path, key))
    if isinstance(value, str) and "://" in value:
        yield path


def planted(value: Any, path: tuple[Any, ...], address: str) -> Any:
    """The same values with another address in one place."""
    if not path:
        return address
    if isinstance(value, list):
        return [planted(item, path[1:], address) if i == path[0] else item for i, item in enumerate(value)]
    return {key: planted(item, path[1:], address) if key == path[0] else item for key, item in value.items()}


@pytest.mark.parametrize("path", addresses(RECIPE), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("address", PLANTED, ids=["user", "store user", "query"])
def test_a_recipe_whose_address_holds_a_secret_is_refused_and_names_what_to_use(
    path: tuple[Any, ...], address: str
) -> None:
    parse_recipe(RECIPE)
    with pytest.raises(ConfigError) as caught:
        parse_recipe(planted(RECIPE, path, address))
    told = str(caught.value)
    assert TOKEN not in told
    assert TOKEN not in repr(caught.value.__cause__)
    assert str(path[-1]) in told
    assert "in its address, which every run would write down: leave it out; give " in told


@pytest.mark.parametrize(
    ("address", "where", "use"),
    [
        (PLANTED[1], "recipe.score.store", "AWS_SECRET_ACCESS_KEY"),
        (PLANTED[0], "recipe.tracking", "MLFLOW_TRACKING_PASSWORD"),
        (PLANTED[2], "recipe.rewards.0.params.url", "key_file"),
        (f"gs://{TOKEN}@bucket", "recipe.promote.champions", "GOOGLE_APPLICATION_CREDENTIALS"),
        (f"abfs://{TOKEN}@container", "recipe.score.store", "a variable of its client"),
    ],
)
def test_what_to_use_is_that_of_the_client(address: str, where: str, use: str) -> None:
    with pytest.raises(ConfigError, match=use):
        check_address(address, where)


@pytest.mark.parametrize(
    "address", ["sqlite:///a@b/mlflow.db?x=1", "s3://bucket/a@b", "see https://h.example/a?b=c", "a?b", ""]
)
def test_what_holds_no_secret_is_left_alone(address: str) -> None:
    check_address(address, "recipe.tracking")


def test_addresses_on_the_command_line_are_held_to_the_same() -> None:
    with pytest.raises(CopgError, match="--host has user info") as caught:
        Connection(host=f"https://ada:{TOKEN}@kfp.example")
    assert TOKEN not in str(caught.value)
    with pytest.raises(ConfigError, match="in its address"):
        parse_placement({"stores": {"tracking": PLANTED[0]}})
    assert PlacementConfig().stores.tracking == "http://copg-mlflow:5000"


def test_no_error_of_ours_tells_a_password() -> None:
    assert without_secrets(f"{PLANTED[0]} and '{PLANTED[2]}'; ok?") == (
        "https://host.example/v1 and 'http://h.example:5/a'; ok?"
    )
    with pytest.raises(TrackingError) as caught, one_line_errors(PLANTED[0]):
        raise OSError(f"no way to {PLANTED[2]}")
    assert TOKEN not in str(caught.value)
    assert "https://host.example/v1" in str(caught.value)


@pytest.mark.parametrize("override", [f"tracking={PLANTED[0]}", f"nonsense={PLANTED[2]}", PLANTED[0]])
def test_the_command_prints_and_writes_none(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_records(tmp_path / "records.jsonl", 4, 2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    command = ["copg", "run", "align", "--recipe", str(tmp_path / "recipe.yaml"), "--set", override]
    monkeypatch.setattr(sys, "argv", [*command, "--on", "local", "--run-dir", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert TOKEN not in told.out + told.err
    assert told.err.startswith("error: ")
    assert files_with_token(tmp_path) == []


def files_with_token(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


VARIABLES = [
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN"),
    *("OPENAI_API_KEY", "WANDB_API_KEY", "COPG_TOKEN", "KFP_TOKEN", "ANY_OTHER"),
]


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_run_writes_nothing_of_its_environment_not_even_in_mlflow(
    tmp_path: Path, reference_dir: Path
) -> None:
    tiny.write_records(tmp_path / "records.jsonl", 60, 3)
    recipe = {
        "name": "x",
        "records": "records.jsonl",
        "model": str(reference_dir),
        "rewards": [{"name": "length", "params": {"max": 4}}],
        "trials": [{"method": "copg", "beta": 0.1}],
        "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
        "train": {"samples": {"num_prompts": 0}},
        "evaluate": {"num_prompts": 4, "samples_per_prompt": 2, "generation": {"max_new_tokens": 4}},
        "promote": {"error": {"refuse_hopeless": False}},  # of so few prompts
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **dict.fromkeys(VARIABLES, TOKEN)}
    environment["COPG_WEBHOOK_URL"] = f"http://127.0.0.1:9/{TOKEN}"
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(tmp_path / "recipe.yaml")]
    command += ["--on", "local", "--run-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/mlflow.db").is_file()
    assert TOKEN not in done.stdout + done.stderr
    assert files_with_token(tmp_path) == []
