"""MLflow as the Deployment starts it: with its arguments, its environment, and no other place to write."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from copg.stages.promote import PromoteConfig, promote_best
from copg.tracking.registry import Registry, champion
from copg.tracking.runs import Tracker
from tests.evaluations import Made, make_evaluation, make_groups, make_policy
from tests.manifests.built import build, named

STARTS_WITHIN_S = 120.0


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose ``/mlflow`` and ``/tmp`` are two fresh folders."""
    data, tmp = tmp_path_factory.mktemp("mlflow"), tmp_path_factory.mktemp("tmp")
    deployment = named(build("overlays/gpu"), "Deployment", "copg-mlflow")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    port = free_port()
    changes = {"/mlflow/": f"{data}/", "--port=5000": f"--port={port}", "=0.0.0.0": "=127.0.0.1", "=2": "=1"}
    words = [*container["command"], *container["args"]]
    for here, there in changes.items():
        words = [word.replace(here, there) for word in words]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert given["HOME"] == "/tmp"
    env = {"PATH": os.environ["PATH"], **given, "HOME": str(tmp), "TMPDIR": str(tmp)}
    with (tmp / "log").open("w") as log:
        process = subprocess.Popen(
            words, env=env, cwd=tmp, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, tmp / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            requests.get(address, timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("copg-mlflow:5000", 200),
        ("copg-mlflow.kubeflow.svc.cluster.local:5000", 200),
        ("localhost:5000", 200),  # of a port-forward
        ("copg-mlflow.evil.example:5000", 403),
        ("evil.example", 403),  # a page elsewhere that has its name resolve to the server
    ],
)
def test_it_answers_by_the_names_of_its_service_alone(server: str, host: str, status: int) -> None:
    address = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(address, headers={"Host": host}, timeout=10).status_code == status


def test_it_keeps_runs_and_versions(server: str) -> None:
    with Tracker(server, experiment="mine", run_name="copg_0.05", params={"beta": 0.05}) as tracker:
        tracker.log({"reward/mean": 0.5}, step=1)
    registry = Registry(server, "mine")
    made = registry.register_version(
        "minio://mlpipeline/v2/artifacts/policy", digest="d" * 64, tags={}, description="a policy"
    )
    registry.make_champion(made)
    champion = registry.get("champion")
    assert champion is not None
    assert champion.policy_uri == "minio://mlpipeline/v2/artifacts/policy"


@pytest.mark.parametrize("root", ["minio://mlpipeline/v2/artifacts", "s3://bucket/copg", "gs://bucket/copg"])
def test_a_promotion_registers_the_policy_where_kfp_stored_it(server: str, tmp_path: Path, root: str) -> None:
    best, name = Made("copg_0.1", 0.2, 3.0, "copg", 0.1), root.partition(":")[0]
    uri = f"{root}/align/0b5f7c1e/train/2f6d/policy"
    groups = make_groups(tmp_path / "groups")
    reference = make_evaluation(tmp_path / "reference", Made("reference"), groups)
    policy = make_policy(tmp_path / "policy", best.name)
    evaluation = make_evaluation(tmp_path / "trial", best, groups, policy=policy, policy_uri=uri)
    promote_best(
        PromoteConfig(model_name=name, tracking_uri=server, max_kl=10.0),
        groups=tmp_path / "groups",
        reference=reference,
        champion=None,
        evaluations=[evaluation],
        registration=tmp_path / "registration",
    )
    now = champion(server, name)
    assert now is not None
    assert now.policy_uri == uri
