"""What a training over several nodes waits for, and what it cannot have, told in the words of the cluster."""

import copy
import os
import time
from pathlib import Path
from typing import Any

import pytest
from copg_components.cluster import node
from copg_components.cluster.node import be_of_node, memory_noted

from copg.artifacts import begin, seal, write_json
from copg.errors import ConfigError, MemoryLimitError, MismatchError
from copg.lm.memory import GIB
from copg.run import memory_watch
from copg.training.launch import FAILURE
from tests.components.cluster.kubernetes_server import Cluster, pod, warning
from tests.components.cluster.test_train_job import NAME, TEMPLATE, call, folder_of, leave_artifacts

REFUSED = (
    'Error creating: Pod "x" is invalid: metadata.labels: Invalid value: "-10": a valid label must be an '
    "empty string or consist of alphanumeric characters"
)
SPOT = {"key": "karpenter.sh/capacity-type", "operator": "Equal", "value": "spot", "effect": "NoSchedule"}
MINE = {"key": "team", "operator": "Equal", "value": "mine", "effect": "NoSchedule"}


@pytest.fixture
def referenced(tmp_path: Path) -> Path:
    directory = begin(tmp_path / "referenced")
    seal(directory, schema="referenced", stage="reference", rows=1, config={}, parents={})
    return directory


def test_a_job_without_a_pod_ends_with_the_words_of_the_latest_warning(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.pods = []
    cluster.events = [
        warning(f"{NAME}-node-0", "FailedCreate", REFUSED, minute=5),
        warning(NAME, "JobCreationFailed", "an older one", minute=1),
        warning("another-job", "FailedMount", "of somebody else", minute=9),
        {**warning(NAME, "Started", "no warning", minute=8), "type": "Normal"},
    ]
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        call(address, tmp_path, referenced, no_pod_s=0.3)
    assert time.monotonic() - started >= 0.3
    assert str(caught.value) == f"TrainJob {NAME} has no pod after 0.3 s: FailedCreate: {REFUSED}"
    assert cluster.jobs == {}


def test_a_job_that_no_controller_looks_at_ends_too(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.pods = []
    with pytest.raises(ConfigError, match=r"has no pod after 0.1 s: no event says why"):
        call(address, tmp_path, referenced, no_pod_s=0.1)


def test_a_job_in_a_queue_may_have_no_pod_for_as_long_as_it_takes(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.pods = []
    cluster.events = [warning(NAME, "Pending", "couldn't assign flavors: insufficient quota")]

    def operate(job: dict[str, Any]) -> None:
        cluster.condition(NAME, "Suspended")
        time.sleep(0.6)
        cluster.pods = [pod(NAME, "Pending")]
        cluster.events = [warning(f"{NAME}-node-0-0-x", "FailedScheduling", "0/2 nodes have a GPU")]
        cluster.condition(NAME, "Admitted")
        time.sleep(0.6)
        cluster.pods = None
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    # the first look may come before the controller's
    assert call(address, tmp_path, referenced, no_pod_s=0.4) == {"steps/done": 4.0}
    printed = capfd.readouterr().out
    assert "waits for its place in the queue; Pending: couldn't assign flavors" in printed
    assert "admitted: 1 of 1 pods wait; FailedScheduling: 0/2 nodes have a GPU" in printed


def test_a_pod_without_memory_ends_it_at_once_with_its_limit(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    cluster.pods = [pod(NAME, "Failed", killed)]  # the job goes on: a runtime may start it again
    with pytest.raises(MemoryLimitError) as caught:
        call(address, tmp_path, referenced)
    assert f"pod {NAME}-node-0-0-x was killed at its memory limit, 64Gi; raise placement" in str(caught.value)
    assert cluster.jobs == {}


def test_a_pod_without_memory_is_told_with_what_it_had_noted(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, looks = f"{NAME}-node-0-0", [40 * GIB, 50 * GIB, 60 * GIB]
    monkeypatch.setattr(memory_watch, "container_limit", lambda: 64 * GIB)
    monkeypatch.setattr(memory_watch, "in_use", lambda: looks.pop(0) if len(looks) > 1 else looks[0])
    noted: list[str] = []

    def train(folder: Path, stage: Any) -> None:
        until = time.monotonic() + (10 if os.environ["LOCAL_RANK"] == "0" else 0.1)
        while memory_noted(folder, host)[0] != "60.0 GiB of 64.0 GiB" and time.monotonic() < until:
            time.sleep(0.01)
        noted.append(memory_noted(folder, host)[0])

    monkeypatch.setattr(node, "take_part", train)

    def operate(job: dict[str, Any]) -> None:
        for rank in ("1", "0"):
            monkeypatch.setenv("LOCAL_RANK", rank)
            be_of_node(folder_of(job), host, every_s=0.01)
        killed = pod(NAME, "Failed", {"terminated": {"reason": "OOMKilled", "exitCode": 137}})
        killed["spec"]["hostname"] = host
        cluster.pods = [killed]

    cluster.on_create = operate
    with pytest.raises(MemoryLimitError) as caught:
        call(address, tmp_path, referenced, {"rows": {"tokens_per_batch": 8192}})
    assert noted == ["", "60.0 GiB of 64.0 GiB"]  # one process of a pod is enough
    assert str(caught.value) == (
        f"pod {NAME}-node-0-0-x was killed at its memory limit, 64Gi, with 60.0 GiB of 64.0 GiB in use when "
        "it was last looked at; raise placement.stages.train.memory.limit, or lower "
        "train.rows.tokens_per_batch=8192"
    )


def test_a_mistake_ends_it_though_its_runtime_would_start_it_again(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    def operate(job: dict[str, Any]) -> None:
        write_json(folder_of(job) / FAILURE, {"kind": "", "message": "a peer was lost"})
        time.sleep(0.3)
        assert NAME in cluster.jobs  # no mistake: it is started again
        write_json(folder_of(job) / FAILURE, {"kind": "MismatchError", "message": "m: differs"})

    cluster.on_create = operate
    with pytest.raises(MismatchError, match="m: differs"):
        call(address, tmp_path, referenced)
    assert cluster.jobs == {}


def with_tolerations(*wanted: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(TEMPLATE)
    (patch,) = template["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    job["template"]["spec"]["template"]["spec"]["tolerations"] = list(wanted)
    return template


def test_what_the_runtime_tolerates_is_added_to_what_the_recipe_does_and_a_loss_is_told(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.tolerations = [SPOT, MINE]
    created: list[dict[str, Any]] = []

    def operate(job: dict[str, Any]) -> None:
        created.append(copy.deepcopy(job))
        flavor = copy.deepcopy(job["spec"]["runtimePatches"][0])  # as Kueue appends one of its own
        spec = flavor["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
        spec["template"]["spec"] = {"tolerations": [SPOT]}
        job["spec"]["runtimePatches"].append({**flavor, "manager": "kueue.x-k8s.io/manager"})
        time.sleep(0.3)
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    call(address, tmp_path, referenced, template=with_tolerations(MINE))
    (patch,) = created[0]["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["template"]["spec"]["template"]["spec"]["tolerations"] == [MINE, SPOT]
    assert (
        "took the place of tolerations of ['team']: add them to the ResourceFlavor" in capfd.readouterr().out
    )


def test_a_recipe_without_tolerations_leaves_the_runtime_its_own(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.tolerations = [SPOT]

    def operate(job: dict[str, Any]) -> None:
        assert "tolerations" not in str(job)
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    call(address, tmp_path, referenced)
    assert "trainingruntimes" not in str(cluster.requests)
