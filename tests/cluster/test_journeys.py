"""What befalls a run on a cluster: a mistake, a cancellation, another schedule, many trials, two nodes."""

import json
import re
import time
from typing import Any

import pytest
from copg_pipelines.doctor.pods import OF_WORKFLOW

from tests import tiny
from tests.cluster.cluster import ACCOUNT, TRAINJOBS, VOLUME_POD, Cluster, wait_until
from tests.cluster.conftest import ON_VOLUME, Data
from tests.cluster.test_align import PIPELINE, RUN_ID, pods_of, run, trainers, version_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(5400)]

OURS = "app.kubernetes.io/part-of=copg"
"""Label of what is copg's: the namespace may hold pods and TrainJobs of others."""
LONG = ("--set", "train.epochs=60")
"""Of a training that is still going on when something happens to it."""


def started(cluster: Cluster, data: Data, name: str, *words: str) -> str:
    """The id of a run that nobody waits for."""
    found = RUN_ID.search(run(cluster, data, name, "--no-wait", *words))
    assert found
    return found[0]


def checkpoints(cluster: Cluster, run_dir: str) -> str:
    """One of those that a run's trainings can go on from; empty where there is none."""
    return cluster.sh(f"find {run_dir}/checkpoints -name '*.safetensors' 2>/dev/null | head -1").strip()


def trains(cluster: Cluster, run_id: str, run_dir: str) -> None:
    """Wait until a run has a checkpoint to go on from, and trains on."""
    wait_until("a checkpoint to go on from", lambda: checkpoints(cluster, run_dir), minutes=30)
    assert [pod for pod in trainers(cluster, run_id) if pod["status"]["phase"] == "Running"]


def test_a_misspelt_path_ends_the_run_within_three_minutes_and_once_mended_it_goes_on(
    ready: Cluster, data: Data
) -> None:
    wrong = f"records={ON_VOLUME}/recordz.jsonl"
    options = ["--on", "cluster", "--service-account", ACCOUNT, *version_of(ready, data, "misspelt")]
    began = time.monotonic()
    said = ready.pipelines("run", "align", *options, "--set", wrong, "--timeout", "10", code=1)
    assert time.monotonic() - began < 180
    assert re.search(r"error: run \S+ is FAILED in resolve: .*recordz\.jsonl", said)
    assert ready.read(f"{ON_VOLUME}-misspelt/summary.json")["failure"]["stage"] == "resolve"
    ready.sh(f"cp {ON_VOLUME}/records.jsonl {ON_VOLUME}/recordz.jsonl")
    failed = RUN_ID.search(said)
    assert failed
    ready.pipelines("resume", failed[0], "--timeout", "45")
    summary = ready.read(f"{ON_VOLUME}-misspelt/summary.json")
    assert (summary["state"], summary["failure"]) == ("succeeded", None)


def test_a_run_that_is_cancelled_says_so_and_goes_on_when_it_is_resumed(ready: Cluster, data: Data) -> None:
    run_dir = f"{ON_VOLUME}-cancelled"
    run_id = started(ready, data, "cancelled", *LONG)
    trains(ready, run_id, run_dir)
    asked = ("--kube-context", ready.context)
    assert ready.pipelines("status", "align", run_id, *asked).splitlines()[0].endswith("RUNNING")
    assert re.search(
        r"^train-copg_0\.1: \d+ of \d+", ready.pipelines("logs", run_id, "train", *asked), re.MULTILINE
    )
    said = ready.pipelines("cancel", run_id)
    assert f"run {run_id}" in said.splitlines()[0]
    assert said.splitlines()[0].endswith("CANCELED")
    assert re.search(r"^train-copg_0\.1 +CANCELED", said, re.MULTILINE)
    assert ready.read(f"{run_dir}/summary.json") is None  # its exit handler was stopped with it
    assert "CANCELED" in ready.pipelines("status", "align", run_id, code=1)
    ready.pipelines("resume", run_id, "--timeout", "45")
    summary = ready.read(f"{run_dir}/summary.json")
    assert (summary["state"], summary["failure"]) == ("succeeded", None)
    training = ready.records(run_dir)["train-copg_0.1"].outputs["training"]
    assert training


def test_a_run_whose_workflow_somebody_deleted_is_lost(ready: Cluster, data: Data) -> None:
    run_id = started(ready, data, "lost")
    (workflow,) = wait_until(
        "its pods",
        lambda: {pod["metadata"]["labels"][OF_WORKFLOW] for pod in pods_of(ready, run_id)},
        minutes=5,
    )
    ready.kubectl("delete", "workflows.argoproj.io", workflow)
    asked = ("--kube-context", ready.context)
    said = ready.pipelines("status", "align", run_id, *asked, code=1)
    assert said.splitlines()[0].endswith("LOST")
    assert "its workflow was deleted, and the server goes on saying" in said
    assert ready.pipelines("cancel", run_id).splitlines()[0].endswith("LOST")


def test_an_exit_handler_that_cannot_start_is_told_with_its_reason(ready: Cluster, data: Data) -> None:
    nowhere = "placement.stages.summary.node_selector={copg.test/nowhere: here}"
    run_id = started(ready, data, "unending", "--set", nowhere, "--set", "train.epochs=1")

    def shown() -> str:
        said = ready.pipelines("status", "align", run_id, "--kube-context", ready.context)
        return said if re.search("^summary +PENDING .*Unschedulable", said, re.MULTILINE) else ""

    said = wait_until("the exit handler's reason", shown, minutes=30, every_s=10)
    assert re.search(r"^promote +SUCCEEDED", said, re.MULTILINE)
    # of a run whose own tasks have ended, the server makes a success when it is stopped
    assert ready.pipelines("cancel", run_id, code=1).splitlines()[0].endswith("SUCCEEDED")


def test_prompts_alone_get_their_completions_and_a_second_run_draws_none(ready: Cluster, data: Data) -> None:
    home, there = data.home / "prompts", f"{ON_VOLUME}-prompts"
    tiny.save_drawing_model(home / "model")
    tiny.write_prompts(home / "prompts.jsonl", 80)
    ready.kubectl("cp", str(home), f"{ready.namespace}/{VOLUME_POD}:{there}")
    sets = (
        f"records={there}/prompts.jsonl",
        f"model={there}/model",
        "sample.completions=4",
        "sample.generation.max_new_tokens=8",
        "train.epochs=1",
        "placement.shards=2",
    )
    words = ["--timeout", "45", *(word for each in sets for word in ("--set", each))]
    run(ready, data, "drawn", *words)
    summary = ready.read(f"{ON_VOLUME}-drawn/summary.json")
    assert (summary["state"], summary["failure"]) == ("succeeded", None)
    assert "sample" in summary["executed"]
    drawn = ready.records(f"{ON_VOLUME}-drawn")["sample"].metrics
    assert drawn["completions/drawn"] + drawn["completions/reused"] > 100
    run(ready, data, "drawn", *words)
    assert ready.read(f"{ON_VOLUME}-drawn/summary.json")["executed"] == ["resolve"]


def test_a_schedule_that_is_replaced_leaves_the_run_that_it_started(ready: Cluster, data: Data) -> None:
    run_dir = f"{ON_VOLUME}-replaced"
    options = ["--service-account", ACCOUNT, *version_of(ready, data, "replaced"), *LONG]
    ready.pipelines("schedule", "align", "--cron", "* * * * *", *options)
    try:
        wait_until("a scheduled run", lambda: ready.read(f"{run_dir}/run.json"), minutes=10)
        wait_until("a checkpoint of it", lambda: checkpoints(ready, run_dir), minutes=30)
        said = ready.pipelines("schedule", "align", "--cron", "0 4 * * 1", *options)
        assert "replaced" in said
    finally:
        ready.pipelines("unschedule", "align", "--all", "--pipeline", PIPELINE)
    summary = wait_until("its summary", lambda: ready.read(f"{run_dir}/summary.json"), minutes=45)
    assert (summary["state"], summary["failure"]) == ("succeeded", None)


@pytest.mark.parametrize("count", [7, 15])
def test_many_trials_are_told_to_their_end(ready: Cluster, data: Data, count: int) -> None:
    """Seven are more than 1 MiB of workflow, which a patched controller follows; states of fifteen freeze."""
    trials = [{"method": "copg", "beta": round(0.02 * number, 2)} for number in range(1, count + 1)]
    sets = (f"trials={json.dumps(trials)}", "train.epochs=1", "placement.trials_at_once=4")
    words = ["--timeout", "75", *(word for each in sets for word in ("--set", each))]
    found = run(ready, data, f"trials{count}", *words)
    run_id = RUN_ID.search(found)
    assert run_id is not None
    said = ready.pipelines("status", "align", run_id[0], "--kube-context", ready.context)
    assert ("what followed is told by its workflow" in said) == (count > 7)
    shown = {line.split()[0] for line in said.splitlines() if " SUCCEEDED" in line}
    assert len([name for name in shown if name.startswith(("train-", "evaluate-copg"))]) == 2 * count
    assert len(ready.read(f"{ON_VOLUME}-trials{count}/summary.json")["trials"]) == count


@pytest.fixture(params=["", "copg"], ids=["at once", "from a queue"])
def nodes(request: pytest.FixtureRequest, ready: Cluster) -> dict[str, Any]:
    """The placement of a training on two nodes; skipped where the cluster lacks what it takes."""
    wanted = {"": TRAINJOBS, "copg": "localqueues.kueue.x-k8s.io"}[request.param]
    if "NotFound" in ready.kubectl("get", "crd", wanted, check=False):
        pytest.skip(f"the cluster has no {wanted}")
    if not ready.may("create", TRAINJOBS):
        pytest.skip(f"{ACCOUNT} may not create {TRAINJOBS}: manifests/components/gpu is not applied")
    if request.param and request.param not in ready.kubectl("get", "localqueues", "-o", "name", check=False):
        pytest.skip(f"the namespace has no LocalQueue {request.param}")
    return {"nodes": 2, **({"queue": request.param} if request.param else {})}


def test_two_nodes_train_together_and_survive_the_loss_of_one(
    ready: Cluster, data: Data, nodes: dict[str, Any]
) -> None:
    name = f"nodes{nodes.get('queue', '')}"
    run_dir = f"{ON_VOLUME}-{name}"
    placed = ["--set", f"placement.stages.train={json.dumps(nodes)}"]
    run_id = started(ready, data, name, *LONG, *placed)
    trains(ready, run_id, run_dir)
    first, *_ = ready.pods(f"{OURS},jobset.sigs.k8s.io/jobset-name")
    ready.kubectl("delete", "pod", first["metadata"]["name"])
    ready.pipelines("status", "align", run_id, "--follow", "--timeout", "60")
    summary = ready.read(f"{run_dir}/summary.json")
    assert (summary["state"], summary["failure"]) == ("succeeded", None)
    assert ready.kubectl("get", "trainjobs", "-l", OURS, "-o", "name").strip() == ""
