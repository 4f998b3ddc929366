"""What 0.1.0 left on a disk: its reference store answers, and the rest says what is computed once more."""

import re
from pathlib import Path

import pytest
import yaml
from copg_pipelines.dags.lint import lint
from copg_pipelines.explain_cache import explain_local

from copg.data.group_files import read_groups
from copg.run.recipe import load_recipe
from copg.stages.reference import ReferenceConfig, reference_groups
from tests.left_behind import COMPUTED, LEFT, copy_left
from tests.pipelines.command import IMAGE, Command, command, server
from tests.pipelines.kfp_server import KfpServer

__all__ = ["command", "server"]

TASKS = ["validate", "score", "reference", "evaluate-reference", "train-copg_0.1", "evaluate-copg_0.1"]
TASKS += ["train-ipo_1", "evaluate-ipo_1", "report", "promote"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the finished run, moved to where the test may write."""
    return copy_left(tmp_path / "tiny")


def test_its_reference_store_answers_for_every_completion(old: Path, tmp_path: Path) -> None:
    (scored,) = (old / "runs/artifacts").glob("*/score/scored")
    config = ReferenceConfig(model=str(old / "data/model"), store=str(old / "runs/store"))
    metrics = reference_groups(config, scored, tmp_path / "referenced")
    assert (metrics["reference/computed"], metrics["reference/reused"]) == (0, COMPUTED)
    assert metrics["reference/checked"] > 0  # computed again and found the same
    (before,) = (old / "runs/artifacts").glob("*/reference/referenced")
    assert list(read_groups(tmp_path / "referenced", "train")) == list(read_groups(before, "train"))


def test_each_stage_whose_code_has_another_digest_is_named(old: Path) -> None:
    verdicts = explain_local("align", load_recipe(old / "data/recipe.yaml", here=old), old / "runs")
    assert [each.task for each in verdicts] == TASKS
    for each in verdicts:
        assert not each.reused
        assert any(why.startswith(f"code/{each.task.partition('-')[0]} ") for why in each.why), each


def test_the_lint_finds_in_its_dags_what_no_server_ran() -> None:
    *loops, weight, image = lint(LEFT / "demo_dag.yaml")
    # the three tasks that take an item of a loop over trials or baselines
    assert [line.partition(";")[0] for line in loops] == [
        f"task {task} is STRUCT, and what it is given is STRING"
        for task in (
            "for-loop-1/evaluate: input subject",
            "for-loop-2/evaluate-2: input subject",
            "for-loop-2/train: input trial",
        )
    ]
    # seen: 170 nodes of 8.6 kB
    assert re.match(r"weight: about 1,5\d\d,\d{3} bytes in 170 nodes; above 1,468,006 a server tells", weight)
    assert weight.endswith(" 3 of trials (here 5)")
    assert image.startswith("image copg:0.1.0-python3.11 of ")
    assert "has no digest" in image
    only = [line for line in lint(LEFT / "only_report_dag.yaml") if "description" not in line]
    assert [line.partition(")")[0] for line in only[:-2]] == [
        f"loop for-loop-{2 * number}: an importer in it (importer-{number + 1}" for number in (1, 2, 3)
    ]
    assert "cache is off" in only[-2]
    assert "has no digest" in only[-1]


def test_a_run_of_its_dag_on_a_server_is_compared_with_the_dag_of_today(
    command: Command, server: KfpServer
) -> None:
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED"})]}
    command.with_recipe("run", "align", "--on", "cluster", "--poll", "0.01")
    pipeline, platform = yaml.safe_load_all((LEFT / "demo_dag.yaml").read_text())
    (version,) = server.versions.values()
    version.pipeline_spec = {"pipeline_spec": pipeline, "platform_spec": platform}
    for run in server.runs.values():
        run.runtime_config.parameters = {}
    done = command(
        "explain-cache", "align", "--on", "cluster", "--recipe", str(command.recipe), "--image", IMAGE
    )
    assert done.code == 0, done.error
    (validate,) = (line for line in done.out.splitlines() if line.startswith("validate "))
    assert "; code/validate " in validate
    assert "0 of 8 tasks are reused" in done.out
