"""What the README names exists: commands, paths, targets."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from copg.cli.main import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
TICKED = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))


@pytest.mark.parametrize(
    "path", [t for t in TICKED if "/" in t and t.split("/")[0] in {p.name for p in ROOT.iterdir()}]
)
def test_a_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", TEXT))))
def test_a_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"copg ([a-z-]+) (?:--|align )", TEXT))))
def test_a_command_exists(name: str) -> None:
    group = get_command(app)
    assert group.get_command(typer.Context(group), name) is not None


def test_every_stage_has_its_row() -> None:
    stages = {p.stem for p in (ROOT / "copg/stages").glob("[a-z]*.py")} - {"reward"}
    assert stages == set(re.findall(r"^\| `([a-z]+)` \|", TEXT, re.MULTILINE))
