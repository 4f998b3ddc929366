"""Spellings of 0.1.0: the new one is printed, with the other words, and the exit code is 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from copg.cli.main import main
from copg.cli.renamed import renew

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "train-reward --groups g --reward-model r --config my.yaml",
            "copg reward --groups g --reward-model r --recipe my.yaml",
        ),
        ("score -c my.yaml --groups g", "copg score --recipe my.yaml --groups g"),
        ("train --config=my.yaml", "copg train --recipe=my.yaml"),
        ("train -c my.yaml --set epochs=3", "copg train --recipe my.yaml --set train.epochs=3"),
        ("train-reward -c my.yaml --set epochs=3", "copg reward --recipe my.yaml --set reward.epochs=3"),
        (
            "run align -r 'my recipe.yaml' --on local --root runs/mine",
            "copg run align -r 'my recipe.yaml' --on local --run-dir runs/mine",
        ),
        ("resume {folder} --webhook x", "copg resume --run-dir {folder} --webhook x"),
    ],
)
def test_an_old_spelling_is_answered_with_the_new_one(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    monkeypatch.setattr(sys, "argv", ["copg", *shlex.split(old.format(folder=tmp_path))])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: spelt otherwise now: {new.format(folder=tmp_path)}\n"


def test_a_value_that_is_empty_is_no_old_spelling() -> None:
    for words in (["init", "x.yaml", "--records", ""], ["run", "align", "--run-dir", ""], []):
        assert renew(words) == words


def test_a_set_that_starts_from_the_stage_leaves_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", "--groups", str(tmp_path), "--scored", str(tmp_path / "s"), "--set", "source=given"]
    monkeypatch.setattr(sys, "argv", ["copg", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "error: --set source=given: keys start from the recipe now: --set score.source=given\n"
    )


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["-m", "pipelines", "run", "align", "--root", "runs/x"], "copg run align --run-dir runs/x"),
        (["-m", "pipelines", "status", "align"], "copg status align"),
        (["-m", "pipelines", "explain-cache", "align"], "copg explain-cache align --on cluster"),
        (
            ["-m", "pipelines", "explain-cache", "align", "--root", "r"],
            "copg explain-cache align --run-dir r",
        ),
        (["-m", "pipelines.resources", "a.yaml", "-o", "b.yaml"], "copg resources a.yaml -o b.yaml"),
    ],
)
def test_the_command_of_pipelines_says_that_copg_is_the_command(words: list[str], new: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: spelt otherwise now: {new}\n"


def test_copg_pipelines_is_still_installed() -> None:
    command = Path(sys.executable).parent / "copg-pipelines"
    done = subprocess.run([command, "doctor"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: spelt otherwise now: copg doctor\n")
