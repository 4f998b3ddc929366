"""What the README and the pages name exists: files, targets, commands with their options, stages, metrics."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from copg.cli.main import app
from copg.stages.table import EVERY

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "manifests/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TOP = {path.name for path in ROOT.iterdir()} - {"build", "runs"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_a_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@every_page
def test_a_path_exists(page: Path) -> None:
    ticked = set(re.findall(r"`([^`\n]+)`", page.read_text()))
    paths = [t for t in ticked if re.fullmatch(r"[\w./-]+", t) and "/" in t and t.split("/")[0] in TOP]
    assert not [p for p in paths if not ((ROOT / p).exists() or (page.parent / p).exists())]


@every_page
def test_a_make_target_exists(page: Path) -> None:
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)) <= known


@every_page
def test_a_command_takes_the_options_that_are_typed(page: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for typed in re.findall(r"(?:^|[`\s/])copg ([a-z][^`|\n]*)", text):
        if not re.match(r"[a-z-]+ (?:--|-[a-z] |align\b)", typed):
            continue  # a sentence that names the project
        name, *words = shlex.split(re.split(r" && | \| | & |;| #|\.\.\.", typed)[0], comments=True)
        command = get_command(app).get_command(typer.Context(get_command(app)), name)
        assert command is not None, typed
        options = {option for each in command.params for option in each.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, typed


def test_every_stage_has_its_row() -> None:
    named = re.findall(
        r"^\| `([a-z]+)` \|",
        (ROOT / "docs/stages.md").read_text().partition("| `rows.form` |")[0],
        re.MULTILINE,
    )
    assert set(named) == {"resolve", *EVERY}
