"""The image that --image names, and one small demo run twice: in processes and in its containers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.local import run_local
from filelock import FileLock

from copg.run.recipe import Recipe, load_recipe
from copg.run.summary import SUMMARY
from tests.containers.engine import docker_api, kfp_runner
from tests.containers.parity import TITLE, Row

ROOT = Path(__file__).parents[2]
SMALL = [
    "trials=[{method: copg, beta: 0.05}, {method: ipo, beta: 0.05}]",
    "validate.max_rejected_fraction=0.1",
    "train.groups_per_step=8",
    "train.samples.num_prompts=4",
    "train.samples.generation.max_new_tokens=24",
    "evaluate.num_prompts=12",
    "evaluate.generation.max_new_tokens=24",
    "promote.error.refuse_hopeless=false",  # of so few prompts
    "promote.keep=all",  # whoever is promoted, what each trial left is evaluated again
]
PARITY = "parity"
"""Property of a test's report: a row that the end of the session prints."""


@dataclass(frozen=True)
class Run:
    """A finished run of the demo."""

    root: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of the image, while something answers that runs it; without one, the test is skipped."""
    name = request.config.getoption("--image")
    if not name:
        pytest.skip("no image is named: make test-containers, or pytest tests/containers --image NAME")
    with docker_api(tmp_path_factory.mktemp("engine")):
        yield name


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that these tests are spread over."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    """The demo's records and its reference, few of the ones and little of the other."""
    folder = shared / "demo"
    size = ["--records", "150", "--steps", "10"]
    command = [sys.executable, "-m", "examples.demo", "--out", str(folder), *size]
    with FileLock(shared / "demo.lock"):
        if not (folder / "reference").exists():
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def recipe(data: Path) -> Recipe:
    """The demo's recipe at a small size."""
    own = [f"records={data / 'records.jsonl'}", f"model={data / 'reference'}"]
    return load_recipe(ROOT / "pipelines/recipes/demo.yaml", [*own, *SMALL])


@pytest.fixture(scope="session")
def outside(image: str, recipe: Recipe, shared: Path) -> Run:
    """The run in processes; of no use without an image to compare it with."""
    root = shared / "processes"
    with FileLock(shared / "processes.lock"):
        if not (root / SUMMARY).exists():
            run_local("align", recipe, root)
    return Run(root, json.loads((root / SUMMARY).read_text()))


@pytest.fixture(scope="session")
def inside(image: str, recipe: Recipe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run, each task a container."""
    root = tmp_path_factory.mktemp("containers")
    return Run(root, run_local("align", recipe, root, runner=kfp_runner(root, data), image=image))


@pytest.fixture
def table(record_property: Callable[[str, object], None]) -> Iterator[list[Row]]:
    """Rows that the end of the session prints."""
    rows: list[Row] = []
    yield rows
    for row in rows:
        record_property(PARITY, str(row))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.stats.get(kind, [])]
    rows = sorted({row for each in reports for name, row in each.user_properties if name == PARITY})
    if rows:
        terminalreporter.section("parity")
        for line in (str(TITLE), *rows):
            terminalreporter.write_line(line)
