"""A Kubernetes API server that knows TrainJobs and the pods they make, over HTTP, for tests."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob

from tests.serving import JsonHandler, serving

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"
EVENTS = "/api/v1/namespaces/team/events"
RUNTIME = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainingruntimes/copg-torchrun"


class Cluster:
    """What the server holds, and how it is to behave."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.log: list[str] = []
        self.pods: list[dict[str, Any]] | None = None
        """None: one that runs for each job."""
        self.events: list[dict[str, Any]] = []
        self.tolerations: list[dict[str, Any]] = []
        """Of the runtime's pods."""
        self.broken = 0
        """Requests still to be answered 503."""
        self.refused = 0
        """Status with which every request is answered; 0: none."""
        self.on_create: Callable[[dict[str, Any]], None] = lambda job: None
        """What stands for the operator: runs beside the server for every job that is created."""
        self.on_delete: Callable[[dict[str, Any]], None] = lambda job: None
        self.lock = threading.Lock()

    def condition(self, name: str, kind: str, message: str = "") -> None:
        """Set one condition of a job."""
        with self.lock:
            if name in self.jobs:
                conditions = [{"type": kind, "status": "True", "reason": "Test", "message": message}]
                self.jobs[name]["status"] = {"conditions": conditions}

    def deleted(self) -> list[str]:
        return [path.rpartition("/")[2] for method, path in self.requests if method == "DELETE"]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and body."""
        self.requests.append((method, path))
        if self.broken:
            self.broken -= 1
            return 503, {"message": "the leader is being elected"}
        if self.refused:
            return self.refused, {"message": "no"}
        name = path.rpartition("/")[2]
        if path == JOBS and method == "POST":
            return self.create(body)
        if path == PODS:
            return 200, {"items": [pod(job) for job in self.jobs] if self.pods is None else self.pods}
        if path == EVENTS:
            return 200, {"items": self.events}
        if path == RUNTIME:
            pods = {"spec": {"tolerations": self.tolerations}}
            node = {"name": "node", "template": {"spec": {"template": pods}}}
            return 200, {"spec": {"template": {"spec": {"replicatedJobs": [node]}}}}
        if name not in self.jobs:
            return 404, {"message": f"{name} not found"}
        if method == "DELETE":
            job = self.jobs.pop(name)
            self.on_delete(job)
            return 200, {}
        return 200, self.jobs[name]

    def create(self, body: Any) -> tuple[int, Any]:
        name = body["metadata"]["name"]
        known = TrainerV1alpha1TrainJob.from_dict(body)
        if known is None or json.loads(known.to_json()) != body:
            return 422, {"message": "a field is unknown to TrainJob v1alpha1"}
        if name in self.jobs:
            return 409, {"message": "exists"}
        self.jobs[name] = body
        threading.Thread(target=self.on_create, args=[body], daemon=True).start()
        return 201, body


def pod(job: str, phase: str = "Running", state: dict[str, Any] | None = None) -> dict[str, Any]:
    """A pod of a job, and the state of its one container."""
    metadata = {"name": f"{job}-node-0-0-x", "creationTimestamp": "2026-01-01T00:00:00Z"}
    limits = {"resources": {"limits": {"memory": "64Gi"}}}
    container = {"name": "node", "image": "", "imageID": "", "ready": True, "restartCount": 0}
    status = {"phase": phase, "containerStatuses": [{**container, "state": state or {}}]}
    return {"metadata": metadata, "spec": {"containers": [{"name": "node", **limits}]}, "status": status}


def warning(name: str, reason: str, message: str, minute: int = 0) -> dict[str, Any]:
    """An event as JobSet's and Kubernetes' controllers record it, about an object by its name."""
    return {
        "metadata": {"name": f"{name}.{minute}", "namespace": "team"},
        "involvedObject": {"kind": "Job", "name": name},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "eventTime": f"2026-01-01T00:{minute:02}:00.000000Z",
    }


@contextmanager
def kubernetes_server(cluster: Cluster) -> Iterator[str]:
    """A server of it; its address."""

    class Handler(JsonHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            path = urlsplit(self.path).path
            if path.endswith("/log") and not (cluster.broken or cluster.refused):
                self.stream()
                return
            self.say(*cluster.answer(self.command, path, body))

        def stream(self) -> None:
            """Half of the log, and then the connection breaks; from the start again at the next call."""
            assert parse_qs(urlsplit(self.path).query)["follow"] == ["True"]
            self.send_response(200)
            self.end_headers()
            for line in list(cluster.log):
                self.wfile.write(line.encode() + b"\n")
            time.sleep(0.05)

        do_GET = do_POST = do_DELETE = respond

    with serving(Handler) as url:
        yield url
