"""The compiled DAGs, byte for byte: what a change of component, recipe or placement does to them is seen."""

import difflib
from pathlib import Path

import pytest
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.dags.lint import lint

from copg.run.recipe import load_recipe

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry.example/copg@sha256:" + "0123456789abcdef" * 4
NAMES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


def test_there_is_one_for_a_cpu_for_one_gpu_and_for_several() -> None:
    assert NAMES == ["demo", "pythia-1b_tldr_1gpu", "pythia-6.9b_tldr_gpus"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_compiles_to_the_dag_that_was_looked_at(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / f"pipelines/recipes/{name}.yaml")
    compile_dag("align", recipe, tmp_path / "align.yaml", run_dir=f"/runs/{recipe.name}", image=IMAGE)
    found, golden = (tmp_path / "align.yaml").read_text(), (GOLDEN / f"{name}.yaml").read_text()
    if found == golden:
        return
    changes = difflib.unified_diff(golden.splitlines(), found.splitlines(), "golden", "compiled", n=1)
    pytest.fail(
        "\n".join(list(changes)[:60])
        + "\n\nIf that is what the change is meant to do:\n"
        + f"  python -m pipelines compile align --recipe pipelines/recipes/{name}.yaml "
        + f"--output tests/pipelines/golden/{name}.yaml --image {IMAGE}",
        pytrace=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_lint_finds_nothing_in_it(name: str) -> None:
    assert lint(GOLDEN / f"{name}.yaml") == []
