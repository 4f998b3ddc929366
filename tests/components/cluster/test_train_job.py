"""A training over several nodes, against a Kubernetes API over HTTP; its pods are processes here."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from copg_components.cluster.api import TrainJobs, connect
from copg_components.cluster.train_job import RUN_LABEL, train_on_nodes
from copg_pipelines.placement.config import parse_placement
from copg_pipelines.placement.placement import Placement
from kubernetes import client
from safetensors.torch import load_file

from copg.artifacts import begin, read_manifest, seal, write_json
from copg.errors import ConfigError, MismatchError
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.train import train_policy
from copg.training.config import (
    CheckpointConfig,
    LaunchConfig,
    MonitorConfig,
    OptimizerConfig,
    TrainConfig,
    TrialConfig,
)
from copg.training.launch import ALIVE, FAILURE, ProcessError
from tests import tiny
from tests.components.cluster.kubernetes_server import JOBS, Cluster

KEY = "0123456789abcdef" * 4
RUN = "aaaaaaaaaaaa"
NAME = "copg-train-0123456789abcdef"
TEMPLATE = Placement(
    parse_placement({"stages": {"train": {"nodes": 2, "queue": "copg", "shm": "1Gi", "timeout_hours": 5}}}),
    "registry.example/copg@sha256:0",
).train_job()


def jobs_at(address: str) -> TrainJobs:
    configuration = client.Configuration()
    configuration.host = address
    return TrainJobs(client.ApiClient(configuration), "team")


@pytest.fixture
def referenced(tmp_path: Path) -> Path:
    directory = begin(tmp_path / "referenced")
    (directory / "train.parquet").write_bytes(b"groups")
    seal(directory, schema="referenced", stage="reference", rows=1, config={}, parents={})
    return directory


def call(
    address: str,
    root: Path,
    referenced: Path,
    config: Any = None,
    template: Any = None,
    no_pod_s: float = 60.0,
) -> dict[str, float]:
    return train_on_nodes(
        template or TEMPLATE,
        config or {},
        KEY,
        root / "runs",
        run=RUN,
        referenced=referenced,
        policy=root / "policy",
        training=root / "training",
        jobs=jobs_at(address),
        every_s=0.05,
        no_pod_s=no_pod_s,
    )


def leave_artifacts(folder: Path) -> None:
    """What the pods of a training leave, without training."""
    for name, facts in (("policy", {}), ("training", {"metrics": {"steps/done": 4.0}})):
        seal(begin(folder / name), schema=name, stage="train", rows=1, config={}, parents={}, facts=facts)


def folder_of(job: dict[str, Any]) -> Path:
    return Path(job["spec"]["trainer"]["command"][-1])


def test_a_job_is_created_followed_to_its_end_and_removed(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    created: list[dict[str, Any]] = []

    def operate(job: dict[str, Any]) -> None:
        created.append(json.loads(json.dumps(job)))
        cluster.condition(NAME, "Suspended")
        time.sleep(0.3)
        assert (folder_of(job) / "referenced/train.parquet").read_bytes() == b"groups"
        cluster.condition(NAME, "Resumed")
        for number in range(3):
            cluster.log.append(f"2026-01-01T00:00:0{number}.000000000Z step {number}")
            time.sleep(0.2)
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert read_manifest(tmp_path / "policy", schema="policy").stage == "train"
    assert cluster.jobs == {}
    left = tmp_path / "runs/nodes" / KEY[:20]
    assert {path.name for path in left.iterdir()} == {"policy", "request.json", "training"}
    for lost in ("policy", "training"):  # KFP stores them later, and may fail to
        shutil.rmtree(tmp_path / lost)
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert len(created) == 1
    printed = capfd.readouterr().out
    assert [printed.count(f"step {number}\n") for number in range(3)] == [1, 1, 1]  # though the log broke off
    assert printed.index("waits for its place in the queue") < printed.index("admitted")

    spec = created[0]["spec"]
    assert created[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "copg"
    assert spec["runtimeRef"]["name"] == "copg-torchrun"
    assert (spec["trainer"]["numNodes"], spec["activeDeadlineSeconds"]) == (2, 18000)
    pods = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    volumes = pods["template"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"] == {"claimName": "copg-runs"}
    assert volumes[1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_a_server_that_is_away_for_a_while_changes_nothing(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def operate(job: dict[str, Any]) -> None:
        cluster.broken = 5
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert "does not answer (503" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("failure", "error", "line"),
    [
        ({"kind": "MismatchError", "message": "m: differs"}, MismatchError, "m: differs"),
        ({"kind": "", "message": "OutOfMemoryError: 80 GiB"}, ProcessError, "OutOfMemoryError: 80 GiB"),
        (None, ProcessError, f"TrainJob {NAME}: Test: node lost"),
    ],
    ids=["user", "bug", "silent"],
)
def test_a_failure_is_told_as_its_process_told_it(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, failure: Any, error: Any, line: str
) -> None:
    def operate(job: dict[str, Any]) -> None:
        if failure:
            write_json(folder_of(job) / FAILURE, failure)
        cluster.condition(NAME, "Failed", "node lost")

    cluster.on_create = operate
    with pytest.raises(error) as caught:
        call(address, tmp_path, referenced)
    assert str(caught.value) == line
    assert cluster.deleted() == [NAME]


def test_the_pods_see_that_they_are_followed_also_while_the_server_is_away(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    signs: set[int] = set()

    def operate(job: dict[str, Any]) -> None:
        cluster.broken = 1000
        until = time.monotonic() + 20
        while len(signs) < 4 and time.monotonic() < until:
            signs.add((folder_of(job) / ALIVE).stat().st_mtime_ns)
            time.sleep(0.01)
        cluster.broken = 0
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    call(address, tmp_path, referenced)
    assert len(signs) == 4


def test_a_retry_takes_up_the_job_that_is_running(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs/nodes" / KEY[:20]
    cluster.jobs[NAME] = {"metadata": {"name": NAME, "labels": {RUN_LABEL: RUN}}}
    leave_artifacts(folder / "later")  # not where they belong yet

    def finish() -> None:
        shutil.move(folder / "later/policy", folder / "policy")
        shutil.move(folder / "later/training", folder / "training")
        cluster.condition(NAME, "Complete")

    threading.Timer(0.3, finish).start()
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert ("POST", JOBS) not in cluster.requests
    assert cluster.deleted() == [NAME]


def test_a_retry_clears_the_job_that_failed_away_and_creates_another(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.jobs[NAME] = {"metadata": {"name": NAME}}
    cluster.condition(NAME, "Failed")

    def operate(job: dict[str, Any]) -> None:
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert cluster.deleted() == [NAME, NAME]


def test_a_retry_after_the_training_ended_asks_for_nothing(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    leave_artifacts(tmp_path / "runs/nodes" / KEY[:20])
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert cluster.requests == []


def test_the_job_of_another_run_is_followed_and_left_alone(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.jobs[NAME] = {"metadata": {"name": NAME, "labels": {RUN_LABEL: "bbbbbbbbbbbb"}}}

    def finish() -> None:
        leave_artifacts(tmp_path / "runs/nodes" / KEY[:20])
        cluster.condition(NAME, "Complete")

    threading.Timer(0.3, finish).start()
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert cluster.deleted() == []
    assert "which run bbbbbbbbbbbb created" in capfd.readouterr().out


def test_when_the_other_run_deletes_its_finished_job_the_result_counts(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.jobs[NAME] = {"metadata": {"name": NAME, "labels": {RUN_LABEL: "bbbbbbbbbbbb"}}}

    def finish() -> None:
        leave_artifacts(tmp_path / "runs/nodes" / KEY[:20])
        cluster.jobs.clear()

    threading.Timer(0.3, finish).start()
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}


def test_a_job_that_ended_long_ago_and_whose_result_is_gone_makes_room(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.jobs[NAME] = {"metadata": {"name": NAME, "labels": {RUN_LABEL: "bbbbbbbbbbbb"}}}
    cluster.condition(NAME, "Complete")

    def operate(job: dict[str, Any]) -> None:
        leave_artifacts(folder_of(job))
        cluster.condition(NAME, "Complete")

    cluster.on_create = operate
    assert call(address, tmp_path, referenced) == {"steps/done": 4.0}
    assert cluster.deleted() == [NAME, NAME]


@pytest.mark.parametrize(
    ("status", "line"),
    [(403, "its role copg-runner is in manifests"), (422, "TrainJobs in namespace 'team': 422")],
)
def test_what_the_cluster_refuses_is_one_line(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path, status: int, line: str
) -> None:
    cluster.refused = status
    with pytest.raises(ConfigError, match=line):
        call(address, tmp_path, referenced)


def test_a_job_that_someone_deletes_is_a_failure(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    cluster.on_create = lambda job: cluster.jobs.clear()
    with pytest.raises(ProcessError, match="someone deleted it"):
        call(address, tmp_path, referenced)


def test_outside_of_a_pod_it_says_so() -> None:
    with pytest.raises(ConfigError, match="this is no pod"):
        connect()


CALL = """
import sys
from pathlib import Path
from tests.components.cluster.test_train_job import call
call(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[2]) / "referenced")
"""


def test_a_task_that_is_cancelled_takes_its_job_with_it(
    cluster: Cluster, address: str, referenced: Path, tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", CALL, address, str(tmp_path)]) as process:
        while NAME not in cluster.jobs:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143  # 128 + SIGTERM
    assert cluster.jobs == {}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.nightly
def test_two_nodes_give_the_weights_of_one_process(
    cluster: Cluster, address: str, reference_dir: Path, tmp_path: Path
) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=32)
    reference = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"))
    reference_groups(reference, scored, tmp_path / "groups")
    config = TrainConfig(
        model=str(reference_dir),
        trial=TrialConfig(beta=0.1),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        groups_per_step=8,
        optimizer=OptimizerConfig(learning_rate=3e-3),
        samples=MonitorConfig(num_prompts=0),
        threads=1,
        launch=LaunchConfig(processes=1),
    )
    train_policy(config, tmp_path / "groups", tmp_path / "alone", tmp_path / "alone_training")

    def operate(job: dict[str, Any]) -> None:
        """As Trainer does for torchrun, but that its pods are processes here."""
        trainer, port = job["spec"]["trainer"], str(free_port())
        shared = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        }
        shared |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
        nodes = [
            subprocess.Popen(trainer["command"], env={**os.environ, **shared, "PET_NODE_RANK": str(rank)})
            for rank in range(trainer["numNodes"])
        ]
        codes = [node.wait() for node in nodes]
        cluster.condition(NAME, "Failed" if any(codes) else "Complete", str(codes))

    cluster.on_create = operate
    plain = asdict(replace(config, launch=LaunchConfig(sharding="fsdp2")))
    call(address, tmp_path, tmp_path / "groups", plain)
    facts = read_manifest(tmp_path / "training", schema="training").facts
    assert facts["processes"] == 2
    expected = load_file(tmp_path / "alone/model.safetensors")
    for name, tensor in load_file(tmp_path / "policy/model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)
