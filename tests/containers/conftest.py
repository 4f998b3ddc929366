"""The image that --image names, and one small demo run twice: in processes and in its containers."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.local import run_local

from copg.run.recipe import Recipe, load_recipe
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
]
TABLE = pytest.StashKey[list[Row]]()


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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's records and its reference, few of the ones and little of the other."""
    folder = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable,
        "-m",
        "examples.demo",
        "--out",
        str(folder),
        "--records",
        "150",
        "--steps",
        "10",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def recipe(data: Path) -> Recipe:
    """The demo's recipe at a small size."""
    own = [f"records={data / 'records.jsonl'}", f"model={data / 'reference'}"]
    return load_recipe(ROOT / "pipelines/recipes/demo.yaml", [*own, *SMALL])


@pytest.fixture(scope="session")
def outside(image: str, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in processes; of no use without an image to compare it with."""
    root = tmp_path_factory.mktemp("processes")
    return Run(root, run_local("align", recipe, root))


@pytest.fixture(scope="session")
def inside(image: str, recipe: Recipe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run, each task a container."""
    root = tmp_path_factory.mktemp("containers")
    return Run(root, run_local("align", recipe, root, runner=kfp_runner(root, data), image=image))


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> list[Row]:
    """Rows that the end of the session prints."""
    return request.config.stash.setdefault(TABLE, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if rows := config.stash.get(TABLE, []):
        terminalreporter.section("parity")
        for line in (TITLE, *rows):
            terminalreporter.write_line(str(line))
