"""The wheel in an environment of its own, in a folder that has its own ``pipelines`` and ``components``."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests import tiny

ROOT = Path(__file__).parent.parent
IMAGE = "registry.example/copg@sha256:" + "0" * 64
RECIPE = {
    "name": "mine",
    "records": "/runs/records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    alone = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", "-q", *alone, "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its programs: the wheel in a new environment, which borrows its dependencies from this one."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))  # what stands in their own .pth files is not read
    options = ["-q", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", *options]
    subprocess.run([*command, "--force-reinstall", str(wheel)], check=True)
    return home / "bin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user works."""
    home = tmp_path_factory.mktemp("user")
    for package in ("pipelines", "components"):
        (home / package).mkdir()
        (home / package / "__init__.py").write_text('OWNER = "the user"\n')
    tiny.write_records(home / "records.jsonl", 24, 3)
    (home / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return home


def run(folder: Path, *command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_three_import_roots_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "copg",
        "copg_components",
        "copg_pipelines",
    }
    folders = {"copg": ROOT, "copg_components": ROOT / "components", "copg_pipelines": ROOT / "pipelines"}
    files = {
        str(path.relative_to(above))
        for root, above in folders.items()
        for path in (above / root).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == files


def test_a_user_s_own_packages_are_theirs(installed: Path, folder: Path) -> None:
    code = "import copg, copg_pipelines, pipelines, components; print(pipelines.OWNER, components.OWNER)"
    assert run(folder, installed / "python", "-c", code) == "the user the user\n"
    where = run(folder, installed / "python", "-c", "import copg; print(copg.__file__)")
    assert where.startswith(str(installed.parent))


def test_the_command_runs_a_stage_there(installed: Path, folder: Path) -> None:
    assert "validate" in run(folder, installed / "copg", "--help")
    run(folder, installed / "copg", "validate", "--records", "records.jsonl", "--groups", "groups")
    assert (folder / "groups/manifest.json").is_file()


def test_the_command_compiles_a_dag_there(installed: Path, folder: Path) -> None:
    options = ("--recipe", "recipe.yaml", "--image", IMAGE, "--output", "dag.yaml")
    run(folder, installed / "copg", "compile", "align", *options)
    assert "comp-validate" in (folder / "dag.yaml").read_text()
