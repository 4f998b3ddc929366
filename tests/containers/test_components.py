"""Each component alone in a container, on what the run in processes left; it must leave the same."""

import dataclasses
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.dags.compiling import arguments
from copg_pipelines.local import RECIPE, kept_recipe
from kfp import dsl

from copg.artifacts import begin, read_manifest, seal
from copg.records import SPLITS
from copg.run.machine import MACHINE
from copg.run.summary import SUMMARY, read_records
from copg.run.task_record import RUN, read_json
from tests.containers.alone import build_alone
from tests.containers.conftest import Run
from tests.containers.engine import execute, kfp_runner
from tests.containers.parity import OUTPUT, Row, compare_tasks

pytestmark = pytest.mark.timeout(900)  # that of the first counts the run in processes

SUBJECT: dict[str, Any] = {}
"""Stands for the trial that a task is of, as resolve gave it."""
TRIALS = ("copg_0.05", "ipo_0.05")
MEASURED = {
    "groups": "validate/groups",
    "baselines": ["evaluate-reference/evaluation"],
    "evaluations": [f"evaluate-{trial}/evaluation" for trial in TRIALS],
}
TASKS: dict[str, dict[str, Any]] = {
    "validate": {},
    "score": {"groups": "validate/groups"},
    "reference": {"scored": "score/scored"},
    "train-copg_0.05": {"trial": SUBJECT, "referenced": "reference/referenced"},
    "evaluate-copg_0.05": {"subject": SUBJECT, "scored": "score/scored", "policy": "train-copg_0.05/policy"},
    "report": {**MEASURED, "trainings": [f"train-{trial}/training" for trial in TRIALS]},
    "promote": MEASURED,
}
"""What is done again: parameters, and inputs by the task and the name of what they are."""
SHARDS = {"score": {"groups": "validate/groups"}, "reference": {"scored": "score/scored"}}
ELSEWHERE = {"resolve", "summary", "reward", "sample", "sample_shard", "score_shard", "reference_shard"}


class Bench:
    """A place for one component, beside the finished run that its inputs come from."""

    def __init__(self, image: str, data: Path, outside: Run, model: Path, home: Path) -> None:
        self.image, self.outside, self.home = image, outside.root, home
        self.runner = kfp_runner(home, data, outside.root, model)
        for name in (RUN, MACHINE):
            shutil.copyfile(outside.root / name, home / name)
        self.run = json.loads((home / RUN).read_text().replace(str(self.outside), str(home)))
        self.records = read_records(outside.root, read_json(outside.root / RUN))

    def plan(self, stage: str) -> dict[str, Any]:
        """Its plan, with the stores of this place instead of those of the run."""
        return dict(self.run["plans"][stage])

    def addresses(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Of the artifacts among inputs, each ``TASK/NAME`` or a list of them."""
        return {
            name: self.address(value) if isinstance(value, str) else [self.address(each) for each in value]
            for name, value in inputs.items()
            if not isinstance(value, dict)
        }

    def address(self, made: str) -> str:
        """Of what a task of the run left, ``TASK/NAME``."""
        task, _, name = made.partition("/")
        return self.records[task].outputs[name]

    def execute(
        self, component: Any, parameters: dict[str, Any], artifacts: dict[str, Any]
    ) -> dict[str, Any]:
        """Run it; what its ``executor_output.json`` says."""
        dag = build_alone(component, lambda task: task.set_container_image(self.image), parameters, artifacts)
        said = execute(dag, self.runner, self.home)
        outputs = list(self.home.rglob(OUTPUT))
        assert len(outputs) == 1, said[-3000:]
        return dict(json.loads(outputs[0].read_text()))


@pytest.fixture
def bench(image: str, data: Path, outside: Run, reference_dir: Path, tmp_path: Path) -> Bench:
    return Bench(image, data, outside, reference_dir, tmp_path)


def component(name: str) -> Any:
    return getattr(importlib.import_module(f"copg_components.{name.removesuffix('_shard')}"), name)


def test_every_component_has_a_test_here() -> None:
    made = {
        name
        for path in (Path(__file__).parents[2] / "components/copg_components").glob("[a-z]*.py")
        for name, value in vars(importlib.import_module(f"copg_components.{path.stem}")).items()
        if hasattr(value, "component_spec")
    }
    assert made == ELSEWHERE | {task.partition("-")[0] for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_a_component_leaves_the_same_in_a_container(bench: Bench, table: list[Row], task: str) -> None:
    stage = task.partition("-")[0]
    (mine,) = (each for each in bench.run["tasks"] if each["task"] == task)
    parameters = {key: mine["subject"] for key, value in TASKS[task].items() if value is SUBJECT}
    if stage == "validate":
        parameters["records"] = read_json(bench.outside / RECIPE)["records"]
    parameters |= {"plan": bench.plan(stage), "run_dir": str(bench.home)}
    bench.execute(component(stage), parameters, bench.addresses(TASKS[task]))
    (after,) = read_records(bench.home, {"tasks": [mine]}).values()
    rows = compare_tasks(bench.records[task], after)
    table += [dataclasses.replace(row, task=f"{task} alone") for row in rows]
    assert [str(row) for row in rows if not row.agrees] == []


@pytest.mark.parametrize("stage", SHARDS)
def test_a_shard_fills_the_store_of_their_stage(bench: Bench, stage: str) -> None:
    parameters = {"plan": bench.plan(stage), "run_dir": str(bench.home), "shard": 0, "num_shards": 2}
    output = bench.execute(component(f"{stage}_shard"), parameters, bench.addresses(SHARDS[stage]))
    assert output["parameterValues"]["Output"] > 0
    assert list((bench.home / {"score": "rewards", "reference": "store"}[stage]).rglob("*.parquet"))


def test_resolve_finds_the_same_digests(bench: Bench) -> None:
    _, recipe = kept_recipe(bench.outside)
    given = arguments(recipe, str(bench.home), tasks_at_once=2)
    output = bench.execute(component("resolve"), given, {})
    assert output["parameterValues"]["trials"] == bench.run["trials"]
    assert [(each["method"], each["beta"]) for each in bench.run["trials"]] == [("copg", 0.05), ("ipo", 0.05)]
    found, before = read_json(bench.home / RUN), read_json(bench.outside / RUN)
    assert found["digests"] == before["digests"]


def test_reward_trains_a_model(bench: Bench, reference_dir: Path) -> None:
    groups = begin(bench.home / "groups")
    scored = Path(bench.address("score/scored"))
    for split in SPLITS:
        shutil.copyfile(scored / f"{split}.parquet", groups / f"{split}.parquet")
    seal(groups, schema="groups", stage="validate", rows=1, config={}, parents={})
    plan = {"key": "k" * 64, "config": {"model": str(reference_dir), "form": "text"}}
    given = {"plan": plan, "run_dir": str(bench.home)}
    output = bench.execute(component("reward"), given, {"groups": str(groups)})
    (left,) = output["artifacts"]["reward_model"]["artifacts"]
    weights = Path(left["metadata"]["weights"])
    assert 0.0 <= read_manifest(weights, schema="reward_model").facts["metrics"]["accuracy/mean"] <= 1.0


def test_summary_writes_what_happened_after_a_failure(bench: Bench) -> None:
    @dsl.component(base_image=bench.image, install_kfp_package=False)
    def failing() -> None:
        import time

        print("begins", flush=True)
        time.sleep(3)  # kfp asks for the log once it has begun; podman has removed one that is over by then
        raise SystemExit(3)

    @dsl.pipeline(name="alone")
    def alone() -> None:
        last = component("summary")(run_dir=str(bench.home)).set_container_image(bench.image)
        with dsl.ExitHandler(last):
            failing()

    execute(alone, bench.runner, bench.home)
    summary = read_json(bench.home / SUMMARY)
    assert (summary["state"], summary["failure"]["stage"]) == ("failed", "validate")
