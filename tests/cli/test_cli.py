"""The command: a whole pass through the stages, help that explains, and mistakes in one line."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from copg.cli import stages
from copg.cli.main import app, main
from tests import tiny

STAGES = [
    "resolve",
    "validate",
    "sample",
    "reward",
    "score",
    "reference",
    "train",
    "evaluate",
    "report",
    "promote",
]
ROOT = Path(__file__).parents[2]
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {"groups_per_step": 16, "samples": {"num_prompts": 0}},
    "evaluate": {"num_prompts": 8, "samples_per_prompt": 1, "generation": {"max_new_tokens": 4}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "model").symlink_to(reference_dir)
    rng = random.Random(0)
    rows = [
        {"prompt": tiny.text(rng, 4, 9), "completions": [tiny.text(rng, 2, 8) for _ in range(3)]}
        for _ in range(40)
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def call(*arguments: str) -> tuple[int, str, str]:
    """The command as a user meets it, in this process."""
    import contextlib
    import io

    out, error = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["copg", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            main()
    except SystemExit as stop:
        return int(stop.code or 0), out.getvalue(), error.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("the command always exits")


@pytest.mark.nightly
def test_the_stages_one_after_the_other_make_a_registered_policy(home: Path) -> None:
    recipe = ("--recipe", str(home / "recipe.yaml"))
    runs = ("--run-dir", str(home / "runs"))

    def at(*names: str) -> list[str]:
        return [part for name in names for part in (f"--{name}", str(home / "out" / name))]

    steps: list[list[str]] = [
        ["validate", "--records", str(home / "records.jsonl"), *at("groups"), *recipe],
        ["score", *at("groups", "scored"), *recipe, *runs],
        ["reference", *at("scored", "referenced"), *recipe, *runs],
        [
            "train",
            *at("referenced", "policy", "training"),
            *recipe,
            *runs,
            "--trial",
            "ipo_1",
            "--set",
            "train.epochs=2",
        ],
        ["evaluate", "--groups", str(home / "out/scored"), "--evaluation", str(home / "out/base"), *recipe],
        ["evaluate", "--groups", str(home / "out/scored"), *at("policy", "evaluation"), *recipe],
    ]
    together = ["--reference", str(home / "out/base"), *at("groups", "evaluation"), *recipe]
    steps.append(["report", *together, *at("training", "report")])
    steps.append(["promote", *together, *at("registration"), *runs])
    for step in steps:
        code, out, error = call(*step)
        assert code == 0, (step[0], error)
        assert out, f"{step[0]} shows its metrics"
    facts = json.loads((home / "out/training/manifest.json").read_text())["facts"]
    assert (facts["trial"], facts["method"]) == ("ipo_1", "ipo")
    assert (home / "out/report/report.html").is_file()
    assert json.loads((home / "out/registration/registration.json").read_text())["trial"] == "ipo_1"
    code, _, error = call(*steps[0])
    assert (code, error.count("\n")) == (1, 1)
    assert "is not empty; choose another output or remove it" in error


def test_resolve_prints_the_digests(home: Path, tmp_path: Path) -> None:
    code, out, _ = call("resolve", "-r", str(home / "recipe.yaml"), "--run-dir", str(tmp_path / "runs"))
    assert code == 0
    found = json.loads(out)
    assert {"data", "model", "rewards/score"} <= set(found["digests"])
    assert found["baselines"] == [{"name": "reference"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "--groups", "/none", "--scored", "x"], "'--groups'"),
        (["score", "--scored", "x"], "Missing option '--groups'"),
        (["scroe"], "No such command 'scroe'"),
        (["resolve", "-r", "/none.yaml"], "/none.yaml: cannot be read"),
        (["validate", "--records", "/none.jsonl", "--groups", "{tmp}/groups"], "/none.jsonl"),
        (
            ["validate", "--records", "x", "--groups", "{tmp}/g", "--set", "validate.colums={}"],
            "validate.colums is unknown",
        ),
        (
            ["score", "--groups", "{tmp}", "--scored", "{tmp}/s", "--set", "score.source=given"],
            "no finished artifact",
        ),
        (["score", "--groups", "{tmp}", "--scored", "{tmp}/s", "--set", "score.source"], "must be key=value"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, _, error = call(*(part.replace("{tmp}", str(tmp_path)) for part in arguments))
    assert code == 1
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_of_a_stage_says_what_it_does(stage: str) -> None:
    result = CliRunner().invoke(app, [stage, "--help"])
    assert result.exit_code == 0
    described = [line for line in result.output.splitlines() if line.strip().startswith("-")]
    assert all(len(line.split("  ")) > 1 for line in described)
    assert len(result.output) > 200


def test_help_comes_at_once_and_loads_no_library() -> None:
    program = (
        "import sys; sys.argv = ['copg', '--help']; import copg.cli.main\n"
        "try: copg.cli.main.main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pyarrow', 'pydantic', 'mlflow', 'numpy', 'yaml', 'kfp', 'rich'} & set(sys.modules))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert all(f"\n  {stage}" in done.stdout for stage in STAGES)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 0.5


def test_a_stage_is_the_command_that_its_file_is_called_like() -> None:
    files = {path.stem for path in (ROOT / "copg/stages").glob("*.py")}
    assert (
        set(STAGES) - {"resolve"}
        == {each.callback.__name__ for each in stages.app.registered_commands} & files
    )


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "copg.cli", "scroe"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: No such command 'scroe'")
