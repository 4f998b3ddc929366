"""What every test starts from: no hub, few threads, and a tiny reference made on the spot."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.object_store import ObjectStore, bucket_of, serve

gc.set_threshold(100_000, 50, 100)  # a search of all that torch and MLflow load takes a second


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/cluster and tests/containers, which run nowhere unless one is named."""
    parser.getgroup("containers").addoption("--image", default="", help="Image of the tasks, built here.")
    group = parser.getgroup("cluster")
    group.addoption(
        "--kube-context", default="", help="Kubernetes context of a cluster with KFP and our overlay."
    )
    group.addoption("--cluster-namespace", default="kubeflow", help="Where tasks run.")
    group.addoption("--cluster-image", default="localhost/copg:0.1.0", help="Image of the tasks.")
    group.addoption(
        "--reworded-image",
        default="",
        help="One whose docstrings are reworded, by tests/cluster/reword.py.",
    )


@pytest.fixture(scope="session")
def reference_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of some 60,000 parameters with its own tokeniser, never written to by a test."""
    return tiny.save_model(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="session")
def store_endpoint() -> Iterator[str]:
    """The address of a server that speaks S3."""
    with serve() as endpoint:
        yield endpoint


@pytest.fixture
def store(store_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A new bucket, which ``minio://`` reaches as in a task."""
    with bucket_of(store_endpoint, f"b-{uuid.uuid4().hex}", monkeypatch) as found:
        yield found
