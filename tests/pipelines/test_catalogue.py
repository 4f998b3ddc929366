"""The components as a stranger gets them: a folder each, which kfp loads and a DAG of theirs can use."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.catalogue import write_catalogue
from kfp import compiler, components, dsl

from copg.stages.table import EVERY

IMAGE = "registry/copg@sha256:" + "0" * 64
VERIFIED = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    written = write_catalogue(tmp_path_factory.mktemp("catalogue"), IMAGE, VERIFIED)
    return {path.parent.name: path.parent for path in written}


def test_there_is_a_folder_for_every_stage_in_a_category_of_the_catalogue(folders: dict[str, Path]) -> None:
    assert set(folders) == {f"copg_{stage}" for stage in EVERY}
    known = {"data_processing", "training", "evaluation", "deployment"}
    assert {folder.parent.name for folder in folders.values()} == known
    assert {folder.parent.parent.name for folder in folders.values()} == {"components"}


def test_the_metadata_has_the_fields_that_are_asked_for_in_their_order(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        said = yaml.safe_load((folder / "metadata.yaml").read_text())
        assert [key for key in said if key != "tags"] == ["name", "stability", "dependencies", "lastVerified"]
        assert said["name"] == name
        assert said["lastVerified"] == VERIFIED
        assert said["dependencies"] == {"kubeflow": [{"name": "Pipelines", "version": ">=2.17.0"}]}
        assert "lastVerified: 2026-11-29T12:30:00Z\n" in (folder / "metadata.yaml").read_text()


def test_the_readme_tells_every_port_and_every_setting(folders: dict[str, Path]) -> None:
    text = (folders["copg_train"] / "README.md").read_text()
    for name in ("referenced", "policy", "training", "metrics", "plan", "run_dir"):
        assert re.search(rf"^\| `{name}` \| \S+ \| \S", text, re.MULTILINE), name
    assert "| `epochs` | `1` |" in text
    assert "| `groups_per_step` | `None` | The loss is averaged over these" in text
    assert "| `model` | required | The reference" in text


def test_a_dag_of_somebody_else_fills_them(folders: dict[str, Path], tmp_path: Path) -> None:
    load = {
        name: components.load_component_from_file(f"{folder}/component.yaml")
        for name, folder in folders.items()
    }

    @dsl.pipeline(name="theirs")
    def theirs(records: str) -> None:
        validated = load["copg_validate"](plan={"config": {}}, records=records, run_dir="/data/x")
        rewards = [{"name": "length", "params": {"target": 20}}]
        scored = load["copg_score"](
            plan={"config": {"rewards": rewards}}, run_dir="/data/x", groups=validated.outputs["groups"]
        )
        load["copg_reference"](
            plan={"config": {"model": "owner/model", "store": "/data/x/store"}},
            run_dir="/data/x",
            scored=scored.outputs["scored"],
        )

    compiler.Compiler().compile(theirs, str(tmp_path / "theirs.yaml"))
    spec: dict[str, Any] = yaml.safe_load((tmp_path / "theirs.yaml").read_text())
    assert set(spec["root"]["dag"]["tasks"]) == {"copg-validate", "copg-score", "copg-reference"}
    executors = spec["deploymentSpec"]["executors"].values()
    assert {each["container"]["image"] for each in executors} == {IMAGE}
