"""The journeys of tests/cluster, their client's half: each as it stands there, against a server of the tests.

What only a cluster does (pods, the volume, the work of tasks) is told here as it would be after it went well.
"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from copg_pipelines.doctor import pods
from copg_pipelines.doctor.pods import OF_WORKFLOW, RunPods
from copg_pipelines.server.outline import BASELINES, read_outline

from tests.cluster import test_align, test_champion, test_components, test_journeys
from tests.cluster.cluster import Cluster
from tests.cluster.conftest import ON_VOLUME, PLACEMENT, RECIPE, Data
from tests.pipelines.command import IMAGE, Command

GOING = {"resolve": "SUCCEEDED", "for-loop-2/0/train": "RUNNING"}
ENDED = {"resolve": "SUCCEEDED", "for-loop-2/0/train": "SUCCEEDED", "summary": "SUCCEEDED"}
WELL = ("SUCCEEDED", ENDED)
CHAMPION = f"{test_champion.RUN_DIR}/champions/{test_champion.model_of(test_champion.NAME)}/1"


class Here(Cluster):
    """A cluster of which only KFP's API is there, and what tasks would have left."""

    def __init__(self, command: Command) -> None:
        super().__init__("none", "kubeflow", IMAGE, host=command.server.url)
        self.command, self.server = command, command.server
        self.asked: list[tuple[str, ...]] = []
        """Words of every command of kubectl."""
        self.deleted = self.gone = False
        self.left: dict[str, Any] = {}
        """Records of tasks."""

    @property
    def run(self) -> Any:
        """The latest run."""
        return list(self.server.runs.values())[-1]

    def pipelines(self, *words: str, code: int = 0) -> str:
        if words[0] == "resume":
            self.server.looks.clear()
            failed = ("FAILED", {**GOING, "for-loop-2/0/train": "FAILED"})
            self.server.scripts = {"": [failed, ("RUNNING", GOING), WELL]}
        quick = ("--poll", "0.01") if "--timeout" in words or words[0] == "cancel" else ()
        done = self.command(*words, *quick)
        assert done.code == code, (words, done.out, done.error)
        return done.out + (done.error if code else "")

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        self.asked.append(words)
        self.deleted = self.deleted or words[:2] == ("delete", "pod")
        if words[:2] == ("delete", "workflows.argoproj.io"):
            self.command("status", "align", self.run.run_id)  # it has been seen to run
            self.gone = True
            self.server.deleted.add(self.run.run_id)
        return ""

    def sh(self, script: str, *, check: bool = True) -> str:
        return "1/policy.safetensors" if "checkpoints" in script else ""

    def read(self, path: str) -> Any:
        if path.endswith("/run.json"):
            return {"run": self.run.run_id}
        if "CANCELING" in [each.state for each in self.run.state_history[-2:]]:
            return None
        failed = {"state": "failed", "failure": {"stage": "resolve"}}
        well = {"state": "succeeded", "failure": None, "promoted": True, "reasons": [], "warnings": []}
        trials = self.trials()
        return failed if self.run.state == "FAILED" else {**well, "trials": trials, "run": self.run.run_id}

    def trials(self) -> list[Any]:
        spec = self.server.versions[self.run.pipeline_version_reference.pipeline_version_id].pipeline_spec
        root = spec.get("pipeline_spec", {}).get("root", {})  # nothing of a run that a schedule began
        trials = root.get("inputDefinitions", {}).get("parameters", {}).get("trials", {})
        return [{**each, "reward": 0.5, "kl": 1.0} for each in trials.get("defaultValue", [])]

    def records(self, run_dir: str) -> Any:
        return dict(self.left)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        words = [*self.server.runs, "copg_components", "train"]
        uid = "second" if self.deleted else "first"
        return [
            {
                "metadata": {"name": "train-1", "uid": uid, "labels": {OF_WORKFLOW: "align-1"}},
                "spec": {"containers": [{"name": "main", "args": words}]},
                "status": {"phase": "Running"},
            }
        ]


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Here:
    found = Here(command)
    monkeypatch.setattr(pods, "look_at_pods", lambda *given: RunPods(gone=found.gone))
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> Data:
    """The recipe of the cluster's tests, whose records and model are on the volume alone."""
    paths = {"records": str(tmp_path / "data/records.jsonl"), "model": str(tmp_path / "data/model")}
    placement = {**PLACEMENT, "paths": {str(tmp_path / "data"): ON_VOLUME}}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"name": "cluster-test", **paths, **RECIPE, "placement": placement}))
    return Data(file, tmp_path)


class Misspelt(dict[str, str]):
    """Logs of tasks that fail, each over the same path."""

    def setdefault(self, key: str, default: str = "") -> str:
        return super().setdefault(key, "error: resolve: /runs/recordz.jsonl: no such file or folder\n")


def test_a_misspelt_path(here: Here, recipe: Data) -> None:
    here.server.scripts = {"": [("FAILED", {"resolve": "FAILED"})]}
    here.server.logs = Misspelt()
    test_journeys.test_a_misspelt_path_ends_the_run_within_three_minutes_and_once_mended_it_goes_on(
        here, recipe
    )
    (run,) = here.server.runs
    assert here.server.count("POST", f"{run}:retry") == 1


def test_cancelling_and_a_resumption(here: Here, recipe: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    here.server.scripts = {"": [("RUNNING", GOING)]}
    here.left = {"train-copg_0.1": SimpleNamespace(outputs={"training": "minio://a"})}
    progress = "train-copg_0.1: 3 of 9\n"
    monkeypatch.setattr("copg_pipelines.cli.inspecting._log_of_pod", lambda *given: progress)
    test_journeys.test_a_run_that_is_cancelled_says_so_and_goes_on_when_it_is_resumed(here, recipe)
    (run,) = here.server.runs
    assert [here.server.count("POST", f"{run}:{verb}") for verb in ("terminate", "retry")] == [1, 1]


def test_a_run_whose_workflow_is_deleted(here: Here, recipe: Data) -> None:
    here.server.scripts = {"": [("RUNNING", GOING)]}
    test_journeys.test_a_run_whose_workflow_somebody_deleted_is_lost(here, recipe)


def test_a_schedule_replaced_while_its_run_trains(here: Here, recipe: Data) -> None:
    server = here.server
    server.scripts = {"": [("RUNNING", GOING)]}
    changes: list[str] = []

    def looks(called: str) -> None:
        server.before = looks
        if "recurringruns" in called and not called.startswith("GET"):
            changes.append(called.split()[0])

    server.before = looks
    begun = server.begin("another")
    server.runs[begun].state = "SUCCEEDED"  # by the time its summary is read
    test_journeys.test_a_schedule_that_is_replaced_leaves_the_run_that_it_started(here, recipe)
    # the new one first, and each removed so that its runs stay, or the server refuses
    assert changes == ["POST", "POST", "DELETE", "DELETE"]
    assert (server.schedules, server.count("POST", ":terminate")) == ({}, 0)


@pytest.mark.parametrize("count", [8, 15])
def test_many_trials(here: Here, recipe: Data, count: int) -> None:
    def each(state: str) -> dict[str, str]:
        return {f"for-loop-2/{n}/{task}": state for n in range(count) for task in ("train", "evaluate-2")}

    told = "SUCCEEDED" if count == 8 else "RUNNING"  # as the server froze it
    here.server.scripts = {"": [("RUNNING", GOING), ("SUCCEEDED", ENDED | each(told))]}
    test_journeys.test_many_trials_are_told_to_their_end(here, recipe, count)


@pytest.mark.parametrize("queue", ["", "copg"])
def test_two_nodes(here: Here, recipe: Data, queue: str) -> None:
    here.server.scripts = {"": [("RUNNING", GOING), WELL]}
    nodes = {"nodes": 2, **({"queue": queue} if queue else {})}
    test_journeys.test_two_nodes_train_together_and_survive_the_loss_of_one(here, recipe, nodes)
    (version,) = here.server.versions.values()
    assert ("kueue.x-k8s.io/queue-name" in str(version.pipeline_spec)) is bool(queue)
    assert here.deleted


def test_a_pod_that_is_deleted_while_it_trains(here: Here, recipe: Data) -> None:
    here.server.scripts = {"": [("RUNNING", GOING), WELL]}
    whole = {"trials": [{"method": "copg", "beta": 0.1, "reward": 0.5, "kl": 1.0}]}
    test_align.test_a_training_whose_pod_is_deleted_ends_as_if_nothing_had_been(here, recipe, whole)
    assert ("delete", "pod", "train-1", "--grace-period=0", "--force") in here.asked


def test_runs_with_a_champion(here: Here, recipe: Data) -> None:
    here.server.scripts = {"": [("SUCCEEDED", {**ENDED, "for-loop-1/1/evaluate": "SUCCEEDED"})]}
    here.left = {
        "promote": SimpleNamespace(task="promote", facts={"champion": {"source": CHAMPION}}, outputs={})
    }
    run = here.pipelines

    def ran(*words: str, code: int = 0) -> str:
        said = run(*words, code=code)
        assert re.search(r"^evaluate-champion +SUCCEEDED", said, re.MULTILINE)
        here.left["evaluate-champion"] = SimpleNamespace(
            task="evaluate-champion", run=here.run.run_id, subject={"uri": CHAMPION}, outputs={}
        )
        return said

    here.pipelines = ran  # type: ignore[method-assign]
    gone = SimpleNamespace(exists=lambda address: False)
    test_champion.test_a_champion_outlasts_its_run_and_every_later_run_is_measured_against_it(
        here, recipe, gone
    )
    assert (len(here.server.runs), len(here.server.versions)) == (3, 1)
    (version,) = here.server.versions.values()
    assert BASELINES in read_outline(version.pipeline_spec, {}).items.values()


@pytest.mark.parametrize("name", test_components.STAGES)
def test_each_stage_alone(here: Here, recipe: Data, name: str) -> None:
    stage, takes, leaves = test_components.STAGES[name]
    here.server.scripts = {"": [WELL]}
    here.addresses = {each: f"minio://mlpipeline/{each}" for each in takes}
    run = here.pipelines

    def ran(*words: str, code: int = 0) -> str:
        said = run(*words, code=code)
        outputs = {each: f"minio://mlpipeline/new/{each}" for each in leaves}
        here.left[stage] = SimpleNamespace(stage=stage, state="succeeded", outputs=outputs)
        return said

    here.pipelines = ran  # type: ignore[method-assign]
    test_components.test_a_component_runs_in_a_pod_and_leaves_its_artifact(here, recipe, name)
    sent = str(here.run.pipeline_spec)
    assert here.run.service_account == "copg-runner"
    assert not [each for each in takes if f"minio://mlpipeline/{each}" not in sent]
    assert here.server.versions == {}
