"""The command, the server and webhook it talks to, and a faster compiler, for all tests beside this file."""

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from copg_pipelines.doctor import pods
from kfp.dsl import pipeline_task

from tests.pipelines.command import IMAGE, Command, command, server
from tests.serving import serving

__all__ = ["command", "server"]


def caller() -> list[tuple[object, ...]]:
    """Of ``inspect.stack()`` what kfp reads: the name of the function above the one that asks."""
    return [(), (None, None, None, sys._getframe(2).f_code.co_name)]


@pytest.fixture(scope="session", autouse=True)
def quick_compiler() -> Iterator[None]:
    """At each of 50 settings kfp reads the source of the whole stack: below pytest, 0.1 s each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=caller))
        yield


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook, and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as url:
        yield f"{url}/secret", told


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster for the journeys of tests/cluster, with one that a kube context names."""
    from tests.cluster import cluster
    from tests.pipelines.here import Here

    def wait(seconds: float) -> None:
        raise AssertionError("nothing more comes of waiting: its server answers by looks, not by the clock")

    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))
    found = Here("none", "kubeflow", IMAGE, host=command.server.url, command=command)
    told = pods.RunPods
    monkeypatch.setattr(pods, "look_at_pods", lambda *given: told(gone=found.gone, waiting=found.waiting))
    monkeypatch.setattr(pods, "nodes_of_workflow", lambda *given: found.ended())
    monkeypatch.setattr(pods, "log_of_pod", lambda *given: None)
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """The recipe of the cluster's tests, whose records and model are on the volume alone."""
    from tests.cluster.conftest import ON_VOLUME, PLACEMENT, RECIPE, Data

    paths = {"records": str(tmp_path / "data/records.jsonl"), "model": str(tmp_path / "data/model")}
    placement = {**PLACEMENT, "paths": {str(tmp_path / "data"): ON_VOLUME}}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"name": "cluster-test", **paths, **RECIPE, "placement": placement}))
    return Data(file, tmp_path)
