"""No password in an address is written or printed: recipes that hold one are refused, and runs leave none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from copg_pipelines.placement.config import PlacementConfig, parse_placement
from copg_pipelines.server.connection import Connection

from copg.cli.command import make_command
from copg.cli.main import app, joined, main
from copg.cli.settings import stage_config
from copg.config import check_address
from copg.errors import ConfigError, CopgError, TrackingError, without_secrets
from copg.rewards import REWARDS
from copg.run.keys import keys_of, keys_of_recipe, keys_of_reward, keys_of_stage
from copg.run.model_look import Look
from copg.run.recipe import parse_recipe
from copg.stages.table import EVERY
from copg.tracking.mlflow import one_line_errors
from tests import tiny

TOKEN = "s3cr3t-t0k3n"
PLANTED = [
    f"https://ada:{TOKEN}@host.example/v1",
    f"s3://{TOKEN}@bucket/runs",
    f"http://h.example:5/a?key={TOKEN}",
]
SLASHED = [
    f"https://ada:{TOKEN}/x@host.example/v1",
    f"s3://KEY:{TOKEN}/{TOKEN}@bucket/runs",
    f"https://ada:#{TOKEN}@host.example/v1",
]
"""Passwords as AWS makes them, whose slashes nobody has encoded."""
RECIPE: dict[str, Any] = {
    "name": "x",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "length", "params": {"max": 8}}],
    "trials": [{"method": "copg", "beta": 0.1}],
}
SECTIONS = [
    *((stage, keys_of_stage(stage)) for stage in EVERY),
    *((name, keys_of_reward(name)) for name in REWARDS),
    ("placement", keys_of("placement", PlacementConfig)),
    ("recipe", keys_of_recipe()),
]
"""All that a recipe can say, read from the configurations: a setting cannot be forgotten here."""
BELOW_REWARD = "rewards.N."
SETTINGS = [
    BELOW_REWARD + key.name if section in REWARDS else key.name
    for section, keys in SECTIONS
    for key in keys
    if "text" in key.allowed.split() or "keys" in key.allowed.split()
]
"""Whatever may be a text may be an address, or hold some."""


def settle(values: Any, path: list[str], address: str) -> Any:
    """The same values with an address in one place, and all that is needed around it."""
    if not path:
        return address
    step, *rest = path
    if step == "N":
        here = values if isinstance(values, list) and values else [{}]
        return [settle(here[0], rest, address), *here[1:]]
    here = values if isinstance(values, dict) else {}
    return {**here, step: settle(here.get(step), rest, address)}


def test_the_settings_that_are_addresses_by_their_names_are_among_those_that_are_looked_at() -> None:
    known = {"sample.store", "sample.endpoint.url", "score.store", "reference.store", "tracking"}
    known |= {"train.checkpoint.folder", "train.tracking.uri", "promote.tracking_uri", "promote.champions"}
    known |= {"rewards.N.params.url", "placement.stores.minio.endpoint", "placement.paths"}
    assert known - set(SETTINGS) == set()


@pytest.mark.parametrize("setting", sorted(set(SETTINGS)))
def test_a_recipe_whose_address_holds_a_secret_is_refused_and_names_what_to_use(setting: str) -> None:
    path = setting.split(".")
    for address in PLANTED:
        for inside in ([], ["K"], ["N"], ["K", "N"]):
            refused = told_of(lambda: parse_recipe(settle(RECIPE, [*path, *inside], address)))
            assert "in its address, which every run would write down: leave it out; give " in refused
            assert inside or path[-1] in refused
        as_key = settle(RECIPE, [*path, address], "x")
        assert "in its address" in told_of(lambda: parse_recipe(as_key))


def told_of(make: Callable[[], Any]) -> str:
    """The line of a refusal, in which no token stands."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value.__cause__)
    return str(caught.value)


@pytest.mark.parametrize("stage", EVERY)
def test_a_stage_alone_refuses_the_same(stage: str) -> None:
    for setting in (each for each in SETTINGS if each.startswith(f"{stage}.") and ".N" not in each):
        for address in PLANTED:
            refused = told_of(lambda: stage_config(stage, None, [f"{setting}={address}"]))
            assert "in its address" in refused


def values_of(commands: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """The words that call a command up to a value that it takes, for each of these; the others are given."""
    for name, each in commands.items():
        if hasattr(each, "commands"):
            yield from values_of(each.commands, (*path, name))
            continue
        for taken in each.params:
            if not getattr(taken, "is_flag", False):
                needed = [other for other in each.params if other.required and other is not taken]
                given = [word for other in needed for word in (*_named(other), "1")]
                yield [*path, name, *given, *_named(taken)]


def _named(taken: Any) -> list[str]:
    """The option before its value; nothing before an argument."""
    return taken.opts[:1] if taken.param_type_name == "option" else []


@pytest.mark.parametrize(
    ("address", "where", "use"),
    [
        (PLANTED[1], "recipe.score.store", "AWS_SECRET_ACCESS_KEY"),
        (PLANTED[0], "recipe.tracking", "MLFLOW_TRACKING_PASSWORD"),
        (PLANTED[2], "recipe.rewards.0.params.url", "key_file"),
        (f"gs://{TOKEN}@bucket", "recipe.promote.champions", "GOOGLE_APPLICATION_CREDENTIALS"),
        (f"az://{TOKEN}@container", "recipe.score.store", "a variable of its client"),
        (f"abfs://ada:{TOKEN}@container", "recipe.score.store", "a variable of its client"),
        (SLASHED[0], "recipe.tracking", "MLFLOW_TRACKING_PASSWORD"),
        (f"ada:{TOKEN}@mlflow:5000", "recipe.tracking", "MLFLOW_TRACKING_PASSWORD"),
        (f"ada:{TOKEN}@host.example/v1", "recipe.rewards.0.params.url", "key_file"),
        (f"ada:{TOKEN}@localhost?x=1", "recipe.score.store", "a variable of its client"),
        (SLASHED[1], "recipe.score.store", "AWS_SECRET_ACCESS_KEY"),
        (SLASHED[2], "recipe.tracking", "has user info in its address"),
    ],
)
def test_what_to_use_is_that_of_the_client(address: str, where: str, use: str) -> None:
    with pytest.raises(ConfigError, match=use):
        check_address(address, where)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///a@b/mlflow.db?x=1",
        "s3://bucket/a@b",
        "s3://bucket/a:b@c",
        "http://host:5000/a@b",
        "abfss://my-runs@account.dfs.core.windows.net/a:b@c",
        "abfs://$web@account/x",
        "http://[::1]:5000/a@b",
        "see https://h.example/a?b=c",
        "a?b",
        "registry:5000/copg@sha256:0123",
        f"copg:latest@sha256:{7:064}",
        "mine.py:score",
        "see: ada@host.example",
        "",
    ],
)
def test_what_holds_no_secret_is_left_alone(address: str) -> None:
    check_address(address, "recipe.tracking")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("abfss://my-runs@account.dfs.core.windows.net/x", "abfss://my-runs@account.dfs.core.windows.net/x"),
        ("abfs://my-runs@account:443/x", "abfs://my-runs@account:443/x"),
        (f"abfss://ada:{TOKEN}@account/x", "abfss://account/x"),
        (f"abfss://my-runs:{TOKEN}@account/x", "abfss://account/x"),
        (f"abfss://my-runs@ada:{TOKEN}@account/x", "abfss://account/x"),
        ("abfss://my-runs@ada:123456@account/x", "abfss://account/x"),
        (f"abfss://{TOKEN}@my-runs@account/x", "abfss://account/x"),
        ("abfss://Tm9TZWNyZXQ==@account/x", "abfss://account/x"),
        (f"abfss://my-runs@account/x?sig={TOKEN}", "abfss://my-runs@account/x"),
        (f"s3://{TOKEN}@account/x", "s3://account/x"),
        (f"https://{TOKEN}@account.dfs.core.windows.net/x", "https://account.dfs.core.windows.net/x"),
    ],
)
def test_a_container_of_azure_is_no_user_and_a_password_beside_it_is_one(address: str, told: str) -> None:
    assert without_secrets(f"at {address} and {address!r}.") == f"at {told} and {told!r}."
    if address == told:
        check_address(address, "recipe.score.store")
        return
    with pytest.raises(ConfigError, match="in its address, which every run would write down"):
        check_address(address, "recipe.score.store")


def test_addresses_on_the_command_line_are_held_to_the_same() -> None:
    with pytest.raises(CopgError, match="--host has user info") as caught:
        Connection(host=f"https://ada:{TOKEN}@kfp.example")
    assert TOKEN not in str(caught.value)
    with pytest.raises(ConfigError, match="in its address"):
        parse_placement({"stores": {"tracking": PLANTED[0]}})
    assert PlacementConfig().stores.tracking == "http://copg-mlflow:5000"


@pytest.mark.parametrize("option", ["--records", "--model"])
def test_no_first_recipe_is_written_with_a_secret(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_records(tmp_path / "records.jsonl", 4, 2)
    good = {"--records": "records.jsonl", "--model": "owner/model"}
    for address in PLANTED:
        given = [word for pair in {**good, option: address}.items() for word in pair]
        code, told = run_command(["init", "x.yaml", *given], monkeypatch, capsys)
        assert (code, TOKEN in told) == (1, False)
        assert told.startswith(f"error: {option} has ")
        assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize("given", [("store", "stats"), ("store", "verify"), ("store", "compact")])
def test_a_store_on_the_command_line_is_held_to_the_same(
    given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for address in PLANTED:
        code, told = run_command([*given, address], monkeypatch, capsys)
        assert (code, TOKEN in told) == (1, False)
        assert told.startswith("error: the store has ")


def run_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit code of the command, and all that it said."""
    monkeypatch.setattr(sys, "argv", ["copg", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.mark.parametrize("words", [*values_of(typer.main.get_command(app).commands)], ids="-".join)  # type: ignore[attr-defined]
def test_no_command_repeats_an_address_with_a_secret(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, told = run_command([*words, PLANTED[0]], monkeypatch, capsys)
    assert TOKEN not in told
    assert files_with_token(tmp_path) == []


@pytest.mark.nightly
def test_neither_does_one_that_another_package_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    added = {name: make_command(name, entry.load()) for name, entry in joined().items()}
    assert added
    for words in values_of(added):
        _, told = run_command([*words, PLANTED[0]], monkeypatch, capsys)
        assert TOKEN not in told, words
        assert files_with_token(tmp_path) == [], words


def test_an_error_of_ours_is_one_line_whatever_is_in_it() -> None:
    assert str(ConfigError("./a\nb: no such folder\r\n")) == r"./a\nb: no such folder"
    assert str(CopgError("")) == ""
    assert str(Look("error", "run_dir=a\nb is a file")) == r"error run_dir=a\nb is a file"


def test_no_error_of_ours_tells_a_password() -> None:
    assert without_secrets(f"{PLANTED[0]} and '{PLANTED[2]}'; ok?") == (
        "https://host.example/v1 and 'http://h.example:5/a'; ok?"
    )
    for address in (*PLANTED, *SLASHED):
        assert TOKEN not in without_secrets(f"a line about {address}, and {address!r}")
    assert without_secrets("at http://host:5000/a@b or ada@host") == "at http://host:5000/a@b or ada@host"
    with pytest.raises(TrackingError) as caught, one_line_errors(PLANTED[0]):
        raise OSError(f"no way to {PLANTED[2]}")
    assert TOKEN not in str(caught.value)
    assert "https://host.example/v1" in str(caught.value)


FAILING = """
import sys
from importlib import import_module

def failing(*_):
    raise KeyError(f"no way to {sys.argv[3]}, nor {sys.argv[4]}")

began = import_module(sys.argv[1])
setattr(began, sys.argv[2], failing)
began.main()
"""
"""Ends in an error that nobody catches, whose text has the addresses that it is given."""


@pytest.mark.parametrize(
    ("program", "first_step"),
    [("copg.cli.main", "refuse_renamed"), ("copg_components.__main__", "export_secrets")],
)
def test_an_error_that_nobody_caught_is_printed_without_them(program: str, first_step: str) -> None:
    # in a process of its own: that of tasks takes kfp's compiler away from all that comes after it
    command = [sys.executable, "-c", FAILING, program, first_step, PLANTED[0], PLANTED[2]]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "KeyError: 'no way to https://host.example/v1, nor http://h.example:5/a'" in told
    assert "Traceback" in told
    assert TOKEN not in told


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
