"""The faults with which no server ends a run: each planted once, and none in a DAG of ours."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags import DAGS, build_dag
from copg_pipelines.dags.compiled import LintError, read_compiled
from copg_pipelines.dags.compiling import compile_to
from copg_pipelines.dags.lint import lint_or_refuse
from copg_pipelines.dags.server_model import faults
from copg_pipelines.dags.single import build_single, choose_single
from copg_pipelines.dags.weight import weigh
from kfp import compiler, dsl

from copg.run.recipe import load_recipe, parse_recipe
from copg.stages.table import EVERY
from tests.pipelines.command import IMAGE, RECIPE, Command
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.outline import RECIPES

GIVEN = {
    "reward": ["groups=s3://b/g"],
    "sample": ["groups=s3://b/g"],
    "score": ["groups=s3://b/g"],
    "reference": ["scored=s3://b/s"],
    "train": ["referenced=s3://b/r"],
    "evaluate": ["scored=s3://b/s", "policy=s3://b/p"],
    "report": ["groups=s3://b/g", "baselines=s3://b/b", "evaluations=s3://b/e", "trainings=s3://b/t"],
    "promote": ["groups=s3://b/g", "baselines=s3://b/b", "evaluations=s3://b/e", "evaluations=s3://b/f"],
}


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def takes_dict(subject: dict) -> None:
    """Take a dictionary."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def takes_text(subject: str) -> None:
    """Take a text."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def leaves(address: str, left: dsl.Output[dsl.Artifact]) -> None:
    """Leave an artifact."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def takes_many(many: dsl.Input[list[dsl.Artifact]]) -> None:
    """Take artifacts."""


def faults_of(path: Path) -> list[str]:
    spec, platform = read_compiled(path)
    return faults(spec, weigh(spec, platform))


def found(folder: Path, pipeline: Any) -> list[str]:
    compiler.Compiler().compile(pipeline, str(folder / "dag.yaml"))
    return faults_of(folder / "dag.yaml")


def looping(items: Any, component: Any) -> Any:
    @dsl.pipeline(name="x")
    def pipeline(subjects: items) -> None:
        with dsl.ParallelFor(subjects) as each:
            component(subject=each)

    return pipeline


def test_items_of_a_plain_list_are_text_and_no_dictionaries(tmp_path: Path) -> None:
    assert found(tmp_path, looping(list, takes_dict)) == [
        "task for-loop-1/takes-dict: input subject is STRUCT, and what it is given is STRING; type what the "
        "loop goes over as list[dict]"
    ]
    # the server turns whatever it has into text
    assert found(tmp_path, looping(list, takes_text)) == []
    assert found(tmp_path, looping(list[dict], takes_dict)) == []


@pytest.mark.parametrize(
    ("given", "expected", "fits"),
    [
        ("NUMBER_INTEGER", "NUMBER_DOUBLE", True),  # a number is a number in JSON
        ("STRUCT", "TASK_FINAL_STATUS", True),
        ("LIST", "STRING", True),  # as its text
        ("STRING", "NUMBER_INTEGER", False),
        ("LIST", "STRUCT", False),
    ],
)
def test_a_driver_refuses_what_these_types_tell(
    tmp_path: Path, given: str, expected: str, *, fits: bool
) -> None:
    assert found(tmp_path, looping(list[dict], takes_dict)) == []
    spec, platform = read_compiled(tmp_path / "dag.yaml")
    item = spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    item["pipelinechannel--subjects-loop-item"]["parameterType"] = given
    taken = spec["components"]["comp-takes-dict"]["inputDefinitions"]["parameters"]
    taken["subject"]["parameterType"] = expected
    assert (faults(spec, weigh(spec, platform)) == []) == fits


def test_an_importer_in_a_loop_whose_outputs_are_collected_is_found(tmp_path: Path) -> None:
    def imported(address: Any) -> Any:
        return dsl.importer(artifact_uri=address, artifact_class=dsl.Artifact).output

    def by_task(address: Any) -> Any:
        return leaves(address=address).output

    def collecting(one: Any, *, collected: bool = True) -> Any:
        @dsl.pipeline(name="x")
        def pipeline() -> None:
            with dsl.ParallelFor(["s3://b/1", "s3://b/2"]) as address:
                left = one(address)
            if collected:
                takes_many(many=dsl.Collected(left))

        return pipeline

    (finding,) = found(tmp_path, collecting(imported))
    assert finding.startswith("loop for-loop-2: an importer in it (importer) leaves what is collected")
    assert found(tmp_path, collecting(by_task)) == []
    assert found(tmp_path, collecting(imported, collected=False)) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_retries": 3, "backoff_factor": 1.5}, "backoffFactor=1.5 is no whole number"),
        ({"num_retries": 0}, "maxRetryCount=0 gives the controller's default"),
        ({"num_retries": 3, "backoff_factor": 2.0, "backoff_duration": "60s"}, ""),
    ],
)
def test_argo_reads_whole_numbers(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    @dsl.pipeline(name="x")
    def pipeline() -> None:
        takes_text(subject="a").set_retry(**options)

    findings = found(tmp_path, pipeline)
    assert len(findings) == bool(says)
    assert all(says in each and each.startswith("task takes-text: ") for each in findings)


@pytest.mark.parametrize("name", [path.stem for path in sorted(RECIPES.glob("*.yaml"))])
@pytest.mark.parametrize("dag", DAGS)
def test_no_dag_of_ours_has_a_fault(tmp_path: Path, dag: str, name: str) -> None:
    there = ["records=/runs/records.jsonl", "model=/runs/model"]
    recipe, path = load_recipe(RECIPES / f"{name}.yaml", there), tmp_path / "dag.yaml"
    compile_to(path, partial(build_dag, dag), recipe, run_dir="/runs/x", image=IMAGE)
    assert faults_of(path) == []


@pytest.mark.parametrize("stage", EVERY)
def test_no_stage_alone_has_a_fault(tmp_path: Path, stage: str) -> None:
    needed = {"reward": {"rewards": [{"name": "reward_model"}], "reward": {}}, "sample": {"sample": {}}}
    recipe = parse_recipe({**RECIPE, **needed.get(stage, {})})
    single = choose_single(recipe, stage, GIVEN.get(stage, []), "", here=False)
    path = tmp_path / "dag.yaml"
    compile_to(path, partial(build_single, single), recipe, run_dir="/runs/x", image=IMAGE)
    assert faults_of(path) == []


def test_a_dag_with_a_fault_is_refused_before_it_reaches_a_server(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copg_pipelines.dags.align.SUBJECTS", list)
    for words in (
        ("create", "align"),
        ("run", "align", "--on", "cluster"),
        ("schedule", "align", "--cron", "0 4 * * *"),
    ):
        done = command.with_recipe(*words)
        assert done.code == 1
        assert done.why.startswith(
            "error: no server can run this DAG: task for-loop-1/evaluate: input subject "
        )
        assert done.why.endswith("(and 2 more: copg lint tells them)")
    assert (server.versions, server.runs) == ({}, {})


def test_what_is_doubtful_alone_is_told_and_not_refused(tmp_path: Path) -> None:
    @dsl.pipeline(name="x")
    def pipeline() -> None:
        takes_text(subject="a").set_caching_options(enable_caching=False)

    path = tmp_path / "dag.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    assert any("cache is off" in each for each in lint_or_refuse(path))
    spec = yaml.safe_load(path.read_text())
    spec["root"]["dag"]["tasks"]["takes-text"]["retryPolicy"] = {"backoffFactor": 1.5, "maxRetryCount": 1}
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(LintError, match=r"^no server can run this DAG: task takes-text: backoffFactor=1\.5"):
        lint_or_refuse(path)
