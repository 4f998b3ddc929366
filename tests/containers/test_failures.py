"""What fails in a container is found in what it left, whatever the runner says of it."""

import dataclasses
from pathlib import Path

import pytest
from copg_pipelines.local import run_local
from kfp import dsl

from copg.run.recipe import Recipe
from tests.containers.engine import execute, kfp_runner
from tests.containers.parity import OUTPUT, unfinished

pytestmark = pytest.mark.timeout(600)


def test_a_component_that_fails_leaves_no_output_though_the_runner_may_call_it_a_success(
    image: str, tmp_path: Path
) -> None:
    @dsl.component(base_image=image, install_kfp_package=False)
    def broken(left: dsl.Output[dsl.Artifact]) -> None:
        from pathlib import Path

        Path(left.path).write_text("half")
        raise SystemExit(3)

    @dsl.pipeline(name="planted")
    def planted() -> None:
        broken()

    execute(planted, kfp_runner(tmp_path), tmp_path)
    assert [path.read_text() for path in tmp_path.glob("artifacts/*/broken/left")] == ["half"]
    assert list(tmp_path.rglob(OUTPUT)) == []


def test_a_stage_that_is_killed_in_its_container_makes_the_run_a_failure(
    image: str, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    reward = tmp_path / "mine.py"
    reward.write_text(
        "def killed(prompts, completions, columns):\n    import os\n    os.kill(os.getpid(), 9)\n"
    )
    root = tmp_path / "runs"
    root.mkdir()
    planted = dataclasses.replace(recipe, rewards=[{"name": f"{reward}:killed"}])
    summary = run_local("align", planted, root, runner=kfp_runner(root, data, reward), image=image)
    assert summary["failure"]["stage"] == "score"
    assert {"score", "reference", "train", "report", "promote"} <= set(unfinished(root))
