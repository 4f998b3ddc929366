"""Every component: typed, documented, and free of network when a task starts."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from copg_components import IMAGE

from copg.stages.table import EVERY

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "components/copg_components").glob("[a-z]*.py"))
STAGES = {path.stem for path in (ROOT / "copg/stages").glob("[a-z]*.py")} - {"table"}


def spec_of(name: str) -> Any:
    return getattr(importlib.import_module(f"copg_components.{name}"), name).component_spec


def test_every_stage_of_the_pipeline_has_a_component_of_the_same_name() -> None:
    # resolve and the exit handler stand in the room run: they are no stages with artifacts
    assert set(NAMES) - {"resolve", "summary"} == set(EVERY) == set(STAGES)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_and_output_is_described(name: str) -> None:
    spec = spec_of(name)
    assert spec.description
    for kind in (spec.inputs or {}, spec.outputs or {}):
        for port, definition in kind.items():
            assert definition.description, f"{name}.{port}"


@pytest.mark.parametrize("name", NAMES)
def test_a_task_installs_nothing_and_runs_in_our_image(name: str) -> None:
    container = spec_of(name).implementation.container
    assert container.image == IMAGE
    assert "pip install" not in " ".join(container.command)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_runs_its_component_by_name_and_carries_no_source(name: str) -> None:
    container = spec_of(name).implementation.container
    assert container.command == ["python3", "-m", "copg_components", name]
    assert container.args == ["{{$}}"]


def test_the_program_of_a_task_calls_its_component_without_kfp_s_compiler(tmp_path: Path) -> None:
    status = {"pipelineJobResourceName": "x", "state": "FAILED", "pipelineTaskName": "summary"}
    given = {
        "inputs": {"parameterValues": {"run_dir": str(tmp_path), "status": status}},
        "outputs": {"outputFile": str(tmp_path / "out.json")},
    }
    # an image has none of the libraries that kfp compiles with
    program = (
        "import runpy, sys; sys.modules['google.protobuf'] = None; sys.modules['kfp_server_api'] = None; "
        "runpy.run_module('copg_components', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", program, "summary", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "summary begins"
    assert json.loads((tmp_path / "summary.json").read_text())["job"] == ""
    on_a_server = {**os.environ, "KFP_POD_NAME": "align-1"}
    done = subprocess.run(command, env=on_a_server, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1  # or the server would not repeat it when the run is resumed
    cause = json.loads((tmp_path / "summary.json").read_text())["failure"]["cause"]
    assert done.stderr.startswith(f"error: summary: {cause} (so this task fails too")
    assert json.loads((tmp_path / "summary.json").read_text())["job"] == "x"


def test_a_mistake_outside_of_a_task_s_record_is_one_line(tmp_path: Path) -> None:
    kinds = {"groups": "system.Dataset", "docs": "system.HTML", "metrics": "system.Metrics"}
    left = {
        name: {"artifacts": [{"name": name, "uri": f"{tmp_path}/{name}", "type": {"schemaTitle": kind}}]}
        for name, kind in kinds.items()
    }
    values = {"plan": {"digest": "0" * 32, "told": ""}, "records": "x", "run_dir": str(tmp_path)}
    outputs = {"artifacts": left, "outputFile": str(tmp_path / "out.json")}
    given = {"inputs": {"parameterValues": values}, "outputs": outputs}
    command = [sys.executable, "-m", "copg_components", "validate", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: validate: {tmp_path}/plans/{'0' * 32}.json: is gone; ")


def test_the_program_of_a_task_knows_the_stores_before_it_reads_an_address(tmp_path: Path) -> None:
    addresses = {"baselines": ["minio://mlpipeline/evaluation"], "evaluations": [], "trainings": []}
    values = {"plan": {"config": {}}, "run_dir": str(tmp_path), "addresses": addresses}
    kinds = {"report": "Artifact", "page": "HTML", "brief": "Markdown", "metrics": "Metrics"}
    artifacts = {
        name: {
            "artifacts": [
                {"name": name, "uri": f"{tmp_path}/{name}", "type": {"schemaTitle": f"system.{kind}"}}
            ]
        }
        for name, kind in {"groups": "Dataset", **kinds}.items()
    }
    given = {
        "inputs": {"parameterValues": values, "artifacts": {"groups": artifacts.pop("groups")}},
        "outputs": {"artifacts": artifacts, "outputFile": str(tmp_path / "out.json")},
    }
    command = [sys.executable, "-m", "copg_components", "report", json.dumps(given)]
    keys = {name: value for name, value in os.environ.items() if not name.startswith("COPG_MINIO")}
    done = subprocess.run(command, env=keys, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "minio:// needs COPG_MINIO_ACCESS_KEY and COPG_MINIO_SECRET_KEY" in line, line
