"""Commands that entry points add: listed without their libraries, and told apart where these are missing."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from copg.cli import main as command_line

PIPELINES = ["run", "compile", "create", "schedule", "unschedule", "versions", "rollback", "status"]
PIPELINES += ["resume", "cancel", "logs", "doctor", "lint", "explain-cache", "resources"]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["copg", *words])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return int(left.value.code or 0)


def test_every_command_is_listed_with_a_sentence() -> None:
    shown = CliRunner().invoke(command_line.app, ["--help"]).output
    stages, joined = shown.split("\n\nCommands of copg[pipelines]:\n")
    assert all(f"\n  {name} " in f"\n{joined}" for name in PIPELINES)
    assert "\n  score " in stages
    assert "...\n" not in stages.partition("\n")[2] + joined  # no sentence is cut


@pytest.mark.parametrize("name", PIPELINES)
def test_the_help_of_a_command_says_what_it_does_by_panels(name: str) -> None:
    shown = CliRunner().invoke(command_line.app, [name, "--help"]).output
    described = [line for line in shown.splitlines() if line.startswith("  -")]
    assert all(len(line.strip().split("  ")) > 1 for line in described)
    first = shown.splitlines()[2].split()[0]
    assert first[0].isupper()
    assert first.isalpha()
    if "--host" in shown and name != "resources":
        options, _, connection = shown.partition("\nConnection to a server:\n")
        assert "--host" not in options
        assert connection.lstrip().startswith("--host")


def test_without_the_extra_its_commands_say_which_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.metadata.Distribution.from_name

    def without_kfp(name: str) -> Any:
        if name == "kfp":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(command_line.Distribution, "from_name", without_kfp)
    for words in (["run", "align", "--recipe", "my.yaml"], ["doctor", "--help"], ["lint"]):
        assert call(monkeypatch, *words) == 2
        shown = capsys.readouterr()
        assert shown.err == f"error: copg {words[0]} needs: pip install 'copg[pipelines]'\n"
        assert shown.out == ""
    assert call(monkeypatch, "score", "--help") == 0
    assert call(monkeypatch, "--help") == 0
    assert "\n  run " in capsys.readouterr().out


def test_a_package_may_add_a_command_and_take_none_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    information = tmp_path / "greeting-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[copg.commands]\nhello = greeting:hello\nrun = greeting:hello\nscore = greeting:hello\n"
    )
    (tmp_path / "greeting.py").write_text('def hello() -> None:\n    """Say hello."""\n    print("hello")\n')
    monkeypatch.syspath_prepend(tmp_path)
    command_line.joined.cache_clear()
    try:
        assert call(monkeypatch, "hello") == 0
        assert capsys.readouterr().out == "hello\n"
        assert call(monkeypatch, "--help") == 0
        assert "\nCommands of greeting:\n  hello " in capsys.readouterr().out
        for name in ("run", "score"):
            assert call(monkeypatch, name, "--help") == 0
            assert "hello" not in capsys.readouterr().out
    finally:
        command_line.joined.cache_clear()


def test_the_list_of_commands_loads_nothing_of_the_extra_s_libraries() -> None:
    program = (
        "import sys; sys.argv = ['copg', *sys.argv[1:]]; from copg.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'kfp', 'kfp_server_api', 'kubernetes', 'torch', 'yaml', 'rich'} & set(sys.modules))"
    )
    for words in ([], ["--help"], ["run", "--help"], ["doctor", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()", words


def test_a_function_and_a_line_make_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crowning.py").write_text(
        'def crown(name: str, alias: str = "champion") -> None:\n'
        '    """Show who wears it."""\n'
        "    print(name, alias)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    line = importlib.metadata.EntryPoint("crown", "crowning:crown", "copg.commands")
    monkeypatch.setattr(command_line, "joined", lambda: {"crown": line})
    group = typer.main.get_command(command_line.app)
    assert "crown" in group.list_commands(typer.Context(group))
    assert call(monkeypatch, "crown", "demo", "--alias", "best") == 0
    assert capsys.readouterr().out == "demo best\n"
