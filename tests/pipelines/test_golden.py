"""The outlines of the compiled DAGs: what a change of recipe, DAG or placement does to them is seen."""

import difflib
from pathlib import Path

import pytest
import yaml
from copg_pipelines.dags.lint import lint

from tests.pipelines.outline import GOLDEN, NAMES, compile_recipe, outline


@pytest.fixture(scope="module", params=NAMES)
def dag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for a CPU, one for a GPU, one for several."""
    return compile_recipe(request.param, tmp_path_factory.mktemp("compiled"))


def test_a_recipe_compiles_to_the_dag_that_was_looked_at(dag: Path) -> None:
    found, golden = outline(dag), (GOLDEN / dag.name).read_text()
    if found != golden:
        changes = difflib.unified_diff(golden.splitlines(), found.splitlines(), "golden", "compiled", n=2)
        way = "If that is what the change is meant to do: python -m tests.pipelines.outline"
        pytest.fail("\n".join([*changes, "", way]), pytrace=False)


def test_the_lint_finds_nothing_in_it(dag: Path) -> None:
    assert lint(dag) == []


def test_an_outline_tells_of_every_task_and_every_setting_of_its_pod(dag: Path) -> None:
    pipeline, platform = yaml.safe_load_all(dag.read_text())
    text = outline(dag)
    for name, pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
        assert f"{name.removeprefix('exec-')}, called " in text
        assert [key for key in pod if f"{key}:" not in text] == []
    for executor in pipeline["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert set(container) <= {"args", "command", "env", "image", "resources"}  # the first two are KFP's
        assert container["image"] in text
        amounts = [v for k, v in container["resources"].items() if k.startswith("resource")]
        assert [each for each in amounts if each not in text] == []
