"""What the READMEs tell people to type on a cluster exists: folders, files, commands and their options."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from copg.cli.main import app
from tests.manifests.built import MANIFESTS, ROOT
from tests.manifests.built import build as built

READMES = [ROOT / "README.md", MANIFESTS / "README.md"]


def commands(path: Path, start: str) -> list[list[str]]:
    """The words after ``start`` of each line that holds it, up to the next command."""
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    found = [line.split(start, 1)[1] for line in text.splitlines() if start in line]
    return [shlex.split(re.split(r" && | \| | & |`|;", each)[0]) for each in found]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_client_takes_the_options_that_are_typed(readme: Path) -> None:
    known = get_command(app)
    found = [each for start in (".venv/bin/copg ", "    copg ") for each in commands(readme, start)]
    assert found
    for name, *words in filter(None, found):
        command = known.get_command(typer.Context(known), name)
        options = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("-")} <= options, (name, words)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_applied_is_there(readme: Path) -> None:
    text = readme.read_text()
    for folder in set(re.findall(r"apply -k (manifests/\S+)", text)):
        assert built(ROOT / folder)
    for file in set(re.findall(r"--patch-file\s+(\S+)", text)):
        assert (ROOT / file).is_file()


FORWARDING = [READMES[0], MANIFESTS / "kind.sh", ROOT / "docs/client.md"]


@pytest.mark.parametrize("file", FORWARDING, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_forwarded_shows_the_pages_that_the_client_prints(file: Path) -> None:
    # KFP's manifests: service ml-pipeline-ui, port 80, serves the pages and passes /apis on
    forwarded = re.findall(r"port-forward (\S+ [\d:]+)", file.read_text())
    assert set(forwarded) == {"svc/ml-pipeline-ui 8888:80"}


def test_ten_commands_lead_to_a_schedule() -> None:
    (block,) = re.findall(
        r"with `IMAGE` in a registry of yours:\n\n```bash\n(.*?)```", READMES[0].read_text(), re.DOTALL
    )
    assert len(block.splitlines()) == 10
    assert ".venv/bin/copg schedule " in block.splitlines()[-1]
    (loop,) = (line for line in block.splitlines() if line.startswith("for each in "))
    folders = re.findall(r"[\w/-]+", loop.split(";")[0].removeprefix("for each in "))
    (image,) = re.findall(r"s#(\S+?)#\$IMAGE#", loop)
    # every image that is applied is put in the place of
    images = re.findall(r'"image": "(.*?)"', json.dumps([built(MANIFESTS / folder) for folder in folders]))
    assert set(images) == {image}
    assert len(images) == 2
