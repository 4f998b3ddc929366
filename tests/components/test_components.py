"""Every component: typed, documented, and free of network when a task starts."""

import importlib
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
