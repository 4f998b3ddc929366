"""The journeys of tests/cluster, their client's half: each as it stands there, against the tests' server."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from copg_pipelines.doctor import pods
from copg_pipelines.doctor.pods import reason_of
from copg_pipelines.server.outline import BASELINES, read_outline
from kubernetes import client as k8s

from copg.run import champion
from copg.run.sources import DigestMemo
from copg.tracking.registry import RegisteredVersion
from tests.cluster import test_align, test_champion, test_components, test_journeys
from tests.cluster.cluster import ACCOUNT
from tests.cluster.conftest import Data
from tests.pipelines.here import ENDED, GOING, WELL, Here
from tests.pipelines.kfp_server import Script
from tests.pipelines.recorded import pod_of

CHAMPION = f"{test_champion.RUN_DIR}/champions/{test_champion.model_of(test_champion.NAME)}/1"


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
    monkeypatch.setattr(pods, "log_of_pod", lambda *given: progress)
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


@pytest.mark.parametrize("count", [7, 15])
def test_many_trials(here: Here, recipe: Data, count: int) -> None:
    def each(state: str) -> dict[str, str]:
        return {f"for-loop-2/{n}/{task}": state for n in range(count) for task in ("train", "evaluate-2")}

    told = "SUCCEEDED" if count == 7 else "RUNNING"  # as the server froze it
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
    assert [each for each in here.listed if "app.kubernetes.io/part-of=copg" not in each] == []
    assert "app.kubernetes.io/part-of=copg" in here.asked[-1]  # jobs of others may be there


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
    assert here.run.service_account == ACCOUNT
    assert not [each for each in takes if f"minio://mlpipeline/{each}" not in sent]
    assert here.server.versions == {}


def test_an_exit_handler_that_cannot_start(here: Here, recipe: Data) -> None:
    def waits(run: Any) -> Script:
        ((_, tasks),) = here.whole(run)
        summary = next(path for path in tasks if path.endswith(".summary"))
        pod = unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
        here.waiting = {pod_of(run, summary): reason_of(pod)}
        return [("RUNNING", {**tasks, summary: "PENDING"})]

    here.server.scripts = {"": waits}
    test_journeys.test_an_exit_handler_that_cannot_start_is_told_with_its_reason(here, recipe)
    pods = here.spec(here.run)["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    placed = {name for name, pod in pods.items() if "nodeSelector" in pod}
    assert (placed, here.server.count("POST", ":terminate")) == ({"exec-summary"}, 1)


def unscheduled(why: str) -> k8s.V1Pod:
    """A pod that no node takes, as the API server tells it."""
    told = k8s.V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=why)
    return k8s.V1Pod(status=k8s.V1PodStatus(phase="Pending", conditions=[told]))


def test_a_champion_that_is_gone(
    here: Here, recipe: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    promoted = RegisteredVersion("1", CHAMPION, "digest", {})
    monkeypatch.setattr(champion, "champion", lambda *given: promoted)

    def ends(run: Any) -> Script:
        name = here.given(run)["name"]  # resolve, with the registry's word and the volume as it is now
        settings = {"tracking_uri": "http://mlflow", "model_name": name, "champions": CHAMPION}
        found = champion.find_champion(settings, "run", {}, DigestMemo(tmp_path))
        here.warnings = [found.note]
        return here.whole(run)

    here.server.scripts = {"": ends}
    test_champion.test_a_champion_that_is_gone_is_told_and_the_run_goes_on(here, recipe)
    assert here.shell == [f"rm -rf {test_champion.RUN_DIR}/champions"]
    assert "evaluate-reference" in here.executed()
