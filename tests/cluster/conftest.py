"""The cluster that --kube-context names, with small records and a tiny reference on its volume."""

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from copg_components import _object_store as served

from tests import tiny
from tests.cluster.cluster import ROOT, VOLUME_POD, Cluster, collect, forwarded
from tests.manifests.built import build

FAILURES = ROOT / "build/cluster-failures"
ON_VOLUME = f"/runs/cluster-test-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
"""Of this session alone: KFP's cache must not answer for what an earlier one removed, and one that ends
removes what begins so.
"""
STORE = ("kubeflow", "svc/seaweedfs", 9000)
"""KFP's namespace, and service and port of the store of its artifacts."""
RECIPE: dict[str, Any] = {
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    # for about a minute, so that a pod can be deleted in the middle, and with checkpoints to go on from
    "train": {
        "epochs": 30,
        "groups_per_step": 8,
        "optimizer": {"learning_rate": 1e-3},
        "samples": {"num_prompts": 4, "generation": {"max_new_tokens": 8}},
        "checkpoint": {"every_steps": 10},
    },
    "evaluate": {"num_prompts": 32, "samples_per_prompt": 2, "generation": {"max_new_tokens": 8}},
}
PLACEMENT = {
    "defaults": {
        "cpu": {"request": "500m", "limit": "2"},
        "memory": {"request": "1Gi", "limit": "3Gi"},
        "retry": {"count": 3, "backoff_s": 5},
    }
}


@dataclass(frozen=True)
class Data:
    """The recipe, its records and its reference on this machine."""

    recipe: Path
    home: Path


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster; without one, the test is skipped."""
    context = request.config.getoption("--kube-context")
    if not context:
        pytest.skip(
            "no cluster is named: pytest tests/cluster --kube-context NAME, or make kind-up kind-test"
        )
    found = Cluster(
        context,
        request.config.getoption("--cluster-namespace"),
        request.config.getoption("--cluster-image"),
    )
    with forwarded(found) as found.host:
        yield found


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Data:
    """200 prompts of four completions, a tiny Llama, and the recipe that uses them."""
    home = tmp_path_factory.mktemp("cluster")
    shutil.copytree(reference_dir, home / "data/model")
    tiny.write_records(home / "data/records.jsonl", 200, 4, rewarded=True)  # for a reward model to learn from
    placement = {**PLACEMENT, "paths": {str(home / "data"): ON_VOLUME}}
    paths = {"records": str(home / "data/records.jsonl"), "model": str(home / "data/model")}
    recipe = home / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"name": "cluster-test", **paths, **RECIPE, "placement": placement}))
    return Data(recipe, home)


@pytest.fixture(scope="session")
def ready(cluster: Cluster, data: Data) -> Iterator[Cluster]:
    """The cluster, with records and reference on its volume."""
    (pod,) = build("volume")
    pod["metadata"]["namespace"] = cluster.namespace
    pod["spec"]["containers"][0]["image"] = cluster.image
    cluster.kubectl("apply", "-f", "-", given=json.dumps(pod))
    cluster.kubectl("wait", f"pod/{VOLUME_POD}", "--for=condition=Ready", "--timeout=600s")
    cluster.kubectl("cp", str(data.home / "data"), f"{cluster.namespace}/{VOLUME_POD}:{ON_VOLUME}")
    yield cluster
    cluster.sh(f"rm -rf {ON_VOLUME}*")


@pytest.fixture
def artifacts(ready: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The store of KFP's artifacts, as its launcher and our tasks reach it."""
    secret = json.loads(ready.kubectl("get", "secret", "mlpipeline-minio-artifact", "-o", "json"))["data"]
    with forwarded(ready, STORE) as endpoint:
        monkeypatch.setenv(served.ENDPOINT, endpoint)
        for key, variable in (("accesskey", served.ACCESS_KEY), ("secretkey", served.SECRET_KEY)):
            monkeypatch.setenv(variable, base64.b64decode(secret[key]).decode())
        served.MinioFileSystem.clear_instance_cache()
        served.register()
        yield fsspec.filesystem("minio")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a failure, leave what the cluster says of it in ``build/cluster-failures``."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("ready") or getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        folder = FAILURES / re.sub(r"\W+", "_", item.name)
        collect(cluster, folder)
        report.sections.append(("cluster", f"pods, events and logs: {folder}"))
    return report
