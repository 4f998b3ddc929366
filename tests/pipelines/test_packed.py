"""A run of whose tasks its server stopped telling: what the cluster's own workflow tells of it."""

import io
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.cli.at_hand import KubeContext
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import Connection
from copg_pipelines.server.following import StillRunning, follow
from copg_pipelines.server.nodes import Tree
from copg_pipelines.server.packed import told_nodes
from copg_pipelines.server.tasks import tasks_of

from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.recorded import FOLDER, pod_of, recorded, recorded_run, workflow_name
from tests.serving import serving

RUN, WORKFLOW = "run-of-fifteen-trials-frozen", "workflow-of-fifteen-trials-packed"
PODS, NO_PODS = "/api/v1/namespaces/kubeflow/pods", {"kind": "PodList", "items": []}
QUICK = ("--poll", "0.01", "--timeout", "0.005")
Served = dict[str, Any]


def packed() -> Any:
    return json.loads((FOLDER / f"{WORKFLOW}.json").read_text())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """What a Kubernetes API answers, by path; its context is ``mine``, and none is the current one."""
    name = packed()["metadata"]["name"]
    served: Served = {
        f"/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows/{name}": packed(),
        PODS: NO_PODS,
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            found = served.get(self.path.partition("?")[0])
            text = found if isinstance(found, str) else json.dumps(found or {"kind": "Status", "code": 404})
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

    with serving(Handler) as url:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "mine", "context": {"cluster": "c", "user": "u"}}],
        }
        (tmp_path / "kube.yaml").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kube.yaml"))
        yield served


@pytest.fixture
def going(server: KfpServer) -> str:
    """The run while it went on."""
    run = server.recall(RUN)
    told = server.runs[run]
    told.state, told.finished_at = "RUNNING", None
    told.state_history = told.state_history[:1]
    return run


def pod(task: str) -> dict[str, Any]:
    """A pod of a task of the run, as Kubernetes lists it, and where its log is."""
    (found,) = (each for each in tasks_of(recorded_run(RUN)).tasks if each.name == task)
    notes = {"workflows.argoproj.io/node-id": found.pods[-1]}
    return {"metadata": {"name": "a-pod", "namespace": "kubeflow", "annotations": notes}}


def test_the_workflow_tells_of_every_task_to_the_end(
    command: Command, server: KfpServer, cluster: Served
) -> None:
    run = server.recall(RUN)
    shown = command("status", "align", run, "--kube-context", "mine")
    assert (shown.code, shown.error) == (0, "")
    lines = shown.out.partition("note:")[0].splitlines()[1:]
    names = [line.split()[0] for line in lines if re.search(r" SUCCEEDED +[\d.]+ s$", line)]
    assert len(names) == len(lines) == 15 + 16 + 7
    assert sum(name.startswith("train-") for name in names) == 15
    assert sum(name.startswith("evaluate-") for name in names) == 16  # and the reference
    assert names[0] == "resolve"
    assert names[-3:] == ["report", "promote", "summary"]
    assert "the run itself is SUCCEEDED; what followed is told by its workflow" in shown.out


def test_without_a_cluster_what_is_not_known_is_said_and_who_knows(
    command: Command, server: KfpServer, cluster: Served
) -> None:
    run = server.recall(RUN)
    cluster.clear()  # a day after its end
    cluster[PODS] = NO_PODS
    for words in ((), ("--kube-context", "mine")):
        shown = command("status", "align", run, *words)
        assert (shown.code, shown.error) == (0, "")
        lines = [line for line in shown.out.splitlines() if line.startswith("train-")]
        assert len(lines) == 12
        assert all(" SUCCEEDED" in line for line in lines)
        assert "what followed is not known from here: its workflow tells, where --kube-context" in shown.out
        assert "report" not in shown.out.partition("note:")[0]


def test_a_run_that_goes_on_is_followed_by_its_workflow(
    command: Command, going: str, cluster: Served
) -> None:
    blind = command("status", "align", going, "--follow", *QUICK)
    assert (blind.code, " promote " in blind.out) == (124, False)
    assert "the run itself goes on; what followed is not known from here" in blind.out
    seen = command("status", "align", going, "--follow", "--kube-context", "mine", *QUICK)
    assert seen.code == 124
    assert [line for line in seen.out.splitlines() if line.startswith("promote ") and "SUCCEEDED" in line]
    assert seen.out.count("what followed is told by its workflow") == 1


def test_a_workflow_is_lost_to_the_current_context_that_had_it_and_to_no_other(
    server: KfpServer, going: str, cluster: Served, tmp_path: Path
) -> None:
    config = yaml.safe_load((tmp_path / "kube.yaml").read_text())
    (tmp_path / "kube.yaml").write_text(yaml.safe_dump({**config, "current-context": "mine"}))
    path, workflow = next(iter(cluster.items()))
    client, quick = Client(Connection(host=server.url)), {"every_s": 0.01, "doubt_s": 0.02}

    def deletes(called: str) -> None:
        server.before = deletes
        if server.count("GET /apis/v2beta1", f"/runs/{going}") > 3:
            cluster.pop(path, None)

    server.before = deletes
    lost = follow(client, going, io.StringIO(), KubeContext("kubeflow"), timeout_s=20, **quick)
    assert "is LOST: its workflow was deleted" in lost.why()
    # another cluster may be the current one: what it never had says nothing
    with pytest.raises(StillRunning):
        follow(client, going, io.StringIO(), KubeContext("kubeflow"), timeout_s=0.2, **quick)
    cluster[path] = workflow


def test_the_log_of_a_pod_of_whose_end_the_server_did_not_tell_is_the_cluster_s(
    command: Command, server: KfpServer, cluster: Served
) -> None:
    run = server.recall(RUN)
    cluster[PODS] = {"kind": "PodList", "items": [pod("train-11")]}
    cluster[f"{PODS}/a-pod/log"] = "train: 9 of 9\n"
    assert command("logs", run, "train-11").why == "error: the server has no log of train-11"
    assert command("logs", run, "train-11", "--kube-context", "mine").out == "train: 9 of 9\n"
    cluster[f"{PODS}/a-pod/log"] = "unable to retrieve container logs for containerd://6e0"
    gone = command("logs", run, "train-11", "--kube-context", "mine")
    assert gone.why == "error: the server has no log of train-11"  # the kubelet says so as if it were the log
    missing = command("logs", run, "train-10", "--kube-context", "mine")
    assert missing.why == "error: the server has no log of train-10"


def test_why_a_pod_cannot_even_be_made_is_had_from_the_workflow(
    command: Command, server: KfpServer, cluster: Served
) -> None:
    server.scripts = {"": [("RUNNING", {"resolve": "SUCCEEDED", "train": "PENDING"})]}
    run = server.begin("align")
    why, node = 'pods "x" is forbidden: exceeded quota: copg', pod_of(server.runs[run], "train")
    waits = {"id": node, "displayName": "executor(0)", "phase": "Pending", "message": why}
    path = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
    cluster[f"{path}/{workflow_name(server.runs[run])}"] = {"status": {"nodes": {node: waits}}}
    shown = command("status", "align", run, "--kube-context", "mine")
    assert re.search(rf"^train +PENDING .*{re.escape(why)}$", shown.out, re.MULTILINE), shown.error
    waits["message"] = "ContainerCreating"  # in the ordinary way
    assert "ContainerCreating" not in command("status", "align", run, "--kube-context", "mine").out


def test_why_a_run_failed_is_had_from_the_cluster(
    command: Command, server: KfpServer, cluster: Served
) -> None:
    run = server.recall(RUN)
    told = server.runs[run]
    told.state = told.state_history[-1].state = "FAILED"
    why = command("status", "align", run).why
    assert why.startswith(f"error: run {run} is FAILED; no log gives a cause: copg logs {run} ")
    workflow, _ = cluster.values()
    nodes = told_nodes(workflow)
    workflow["status"] = {"nodes": _failed(nodes, "train-11")}
    cluster[PODS] = {"kind": "PodList", "items": [pod("train-11")]}
    cluster[f"{PODS}/a-pod/log"] = recorded("log-by-node-id")["body"]
    shown = command("status", "align", run, "--kube-context", "mine")
    cause = "/runs/nowhere.jsonl: no such file or folder"
    assert shown.why == f"error: run {run} is FAILED in train-11: resolve: {cause}"


def _failed(nodes: list[Any], task: str) -> dict[str, Any]:
    """The nodes as Argo keeps them unpacked; those of a task as failed."""
    tasks = tasks_of(recorded_run(RUN), nodes_of=lambda _: nodes).tasks
    (bad,) = (each.node for each in tasks if each.name == task)
    tree = Tree(nodes)
    failed = {id(tree.node(bad))}
    return {
        str(number): {
            "displayName": each.display_name,
            "phase": "Error" if id(each) in failed else each.state.capitalize(),
            "startedAt": each.start_time.isoformat(),
            "finishedAt": each.end_time.isoformat(),
            "children": [child.pod_name for child in each.child_tasks],
        }
        for number, each in enumerate(nodes)
    }
