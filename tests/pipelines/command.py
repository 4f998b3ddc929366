"""Runs ``copg`` in this process, against a server of the tests."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from copg.cli import main as command_line
from tests.pipelines.kfp_server import KfpServer, kfp_server

IMAGE = "registry/copg@sha256:" + "0" * 64
RECIPE: dict[str, Any] = {
    "name": "demo",
    "records": "/runs/records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 20}}],
    "trials": [{"method": "copg", "beta": 0.05}],
}
SURROUNDINGS = ("KF_PIPELINES_", "COPG_", "KUBERNETES_", "KUBECONFIG")
"""Beginnings of variables by which a developer's own cluster could get into a test."""


@dataclass
class Outcome:
    code: int
    out: str
    error: str

    @property
    def why(self) -> str:
        """The one line that an error is."""
        lines = [line for line in self.error.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.error
        return lines[0]


class Command:
    """The command, with a recipe and a server at hand."""

    def __init__(self, server: KfpServer, folder: Path, capture: Any, patch: pytest.MonkeyPatch) -> None:
        self.server, self.folder, self.capture, self.patch = server, folder, capture, patch
        self.recipe = folder / "demo.yaml"
        self.recipe.write_text(yaml.safe_dump(RECIPE))

    def __call__(self, *words: str, host: bool = True) -> Outcome:
        where = ["--host", self.server.url, "--request-timeout", "5", "--patience", "1"] if host else []
        self.patch.setattr(sys, "argv", ["copg", words[0], *where, *words[1:]])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as left:
            command_line.main()
        shown = self.capture.readouterr()
        return Outcome(int(left.value.code or 0), shown.out, shown.err)

    def with_recipe(self, *words: str) -> Outcome:
        return self(*words, "--recipe", str(self.recipe), "--image", IMAGE, "--revision", "abc123")

    def create(self, *sets: str) -> str:
        """Put a version on the server; its name."""
        done = self.with_recipe("create", "align", *(word for each in sets for word in ("--set", each)))
        assert done.code == 0, done.error
        return done.out.split(": ")[1].split()[0]


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as running:
        yield running


@pytest.fixture
def command(
    server: KfpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    for name in os.environ:
        if name.startswith(SURROUNDINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return Command(server, tmp_path, capsys, monkeypatch)
