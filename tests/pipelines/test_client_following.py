"""``status``, ``logs`` and ``cancel`` on runs as a real server told them."""

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from copg_pipelines.cli.at_hand import KubeContext
from copg_pipelines.doctor import pods
from copg_pipelines.doctor.pods import reason_of
from copg_pipelines.server.at_hand import RunPods
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import Connection
from copg_pipelines.server.following import StillRunning, follow
from copg_pipelines.server.lost import is_lost
from copg_pipelines.server.outline import outline_of
from copg_pipelines.server.tasks import tasks_of
from kubernetes import client as k8s

from copg.run.ending import BEGINS, ENDS
from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.recorded import pod_of, recorded

QUICK = ("--poll", "0.01")
NOWHERE = KubeContext("kubeflow")
GOING = [("RUNNING", {"resolve": "SUCCEEDED", "train": "RUNNING"})]


def client_of(server: KfpServer) -> Client:
    return Client(Connection(host=server.url, timeout_s=5, patience_s=1))


def test_status_shows_each_task_of_a_failed_run_once_with_the_line_of_its_log(
    command: Command, server: KfpServer
) -> None:
    run = server.recall("run-failed-by-a-mistake")
    server.logs["align-85xlm-569908420"] = recorded("log-by-node-id")["body"]
    shown = command("status", "align", run)
    assert shown.code == 1
    lines = shown.out.splitlines()
    assert lines[0] == f"run {run}  wrong5 6456a3ab  FAILED"
    assert [line.split()[0] for line in lines[1:3]] == ["resolve", "summary"]
    cause = "/runs/nowhere.jsonl: no such file or folder"
    assert lines[1].endswith(f"97.0 s  {cause}")
    assert lines[3] == "never began: stages"
    assert shown.why == f"error: run {run} is FAILED in resolve: {cause}"


def test_states_that_stopped_are_said_once_and_the_run_s_own_is_believed(
    command: Command, server: KfpServer
) -> None:
    run = server.recall("run-succeeded-states-frozen")
    shown = command("status", "align", run)
    assert (shown.code, shown.error) == (0, "")
    assert shown.out.count("the server stopped telling of tasks at 23:52:27 UTC") == 1
    assert "the run itself is SUCCEEDED" in shown.out
    assert "RUNNING" not in shown.out


def test_what_a_run_came_to_and_which_gain_its_gate_can_see_are_told_from_logs(
    command: Command, server: KfpServer
) -> None:
    whole = {"resolve": "SUCCEEDED", "validate": "SUCCEEDED", "score": "SUCCEEDED"}
    server.scripts = {"": [("RUNNING", whole), ("SUCCEEDED", {**whole, "summary": "SUCCEEDED"})]}
    run = server.begin("align")
    came_to = "warning: 3 records are cut\npromoted: nobody; no trial can be"
    logs = {
        "resolve": "a turn ends with `<end>`\nwarning: 3 records are cut\n",
        "validate": "gate: 16 prompts x 2 completions see a gain of 1.1 spreads\n",
        "score": "score: 9 of 9\ngate: 16 prompts x 2 completions see a gain of 0.2\n",
        "summary": f"I1129 1 main.go:67] begins\n{BEGINS}\n{came_to}\n{ENDS}\n",
    }
    server.logs = {pod_of(server.runs[run], task): log for task, log in logs.items()}
    followed = command("status", "align", run, "--follow", *QUICK)
    assert followed.code == 0, followed.error
    lines = followed.out.splitlines()
    first, read, score = (
        next(at for at, line in enumerate(lines) if line.startswith(f"{t} ")) for t in whole
    )
    assert lines[first + 1] == "a turn ends with `<end>`"
    assert lines[read + 1] == "gate: 16 prompts x 2 completions see a gain of 1.1 spreads"
    assert lines[score + 1] == "gate: 16 prompts x 2 completions see a gain of 0.2"  # before anything trains
    assert followed.out.count("gate: ") == 2
    assert f"\n{came_to}\nrun: " in followed.out
    assert f"\n{came_to}\nrun: " in command("status", "align", run).out


def test_logs_of_a_task_by_name_by_stage_and_of_what_failed(command: Command, server: KfpServer) -> None:
    run = server.recall("run-failed-by-a-mistake")
    server.logs["align-85xlm-569908420"] = recorded("log-by-node-id")["body"]
    for words in ((run,), (run, "resolve"), (run, "resolve", "--attempt", "1")):
        done = command("logs", *words)
        assert done.code == 0, done.error
        assert "error: resolve: /runs/nowhere.jsonl: no such file or folder" in done.out
    assert "task='train' is unknown; there are: resolve, summary" in command("logs", run, "train").why
    assert command("logs", run, "summary").why == "error: the server has no log of summary"
    assert "has no log of attempt 7 of resolve" in command("logs", run, "resolve", "--attempt", "7").why


def test_logs_of_a_pod_that_runs_are_found_by_its_name(command: Command, server: KfpServer) -> None:
    run = server.recall("run-going-pod-retried")
    of = "long9xh7p7-1-2801344916"
    server.logs[f"{of}-metadata-0-1-retry-system-container-impl-476554675"] = "second\n"
    server.logs[f"{of}-1080696054"] = "first\n"
    assert command("logs", run).out == "second\n"
    assert command("logs", run, "train", "--attempt", "1").out == "first\n"


def test_logs_of_a_pod_that_runs_are_asked_of_the_cluster_where_the_server_may_not_read_them(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.recall("run-going-pod-retried")
    asked: list[tuple[str, str]] = []

    def log_of_pod(context: str, namespace: str, node: str) -> str | None:
        asked.append((context, node))
        return "step 7\n" if context else None

    monkeypatch.setattr(pods, "log_of_pod", log_of_pod)
    assert command("logs", run).why == "error: the server has no log of train-copg_0.05"
    assert command("logs", run, "--kube-context", "mine").out == "step 7\n"
    node = "long9xh7p7-1-2801344916-476554675"  # of the attempt that runs
    assert asked == [("", node), ("mine", node)]


def test_a_run_whose_workflow_was_deleted_is_lost_and_one_that_trains_is_not(
    command: Command, server: KfpServer
) -> None:
    run = server.recall("run-whose-workflow-was-deleted")
    client = client_of(server)
    told = client.runs.run_service_get_run(run)
    outline = outline_of(client, told)
    tasks = tasks_of(told, outline.items)
    now = datetime(2026, 11, 29, tzinfo=UTC)

    def lost(moment: datetime = now) -> bool:
        return is_lost(client, told, tasks, outline, moment)

    assert not lost()  # no log at all: nobody can know
    (over,) = (each for each in tasks.tasks if each.name == "evaluate-reference")
    name = "-metadata-0-1-retry-system-container-impl-".join(over.pods[-1].rsplit("-", 1))
    server.logs[name] = "kept\n"
    assert not lost()  # a server of one user has no log of a pod that runs either
    del client.many_users
    server.multi_user = True
    assert lost()
    assert not lost(datetime(2026, 11, 28, 23, 35, tzinfo=UTC))  # the pod has hardly begun
    shown = command("status", "align", run)
    assert (shown.code, shown.out.splitlines()[0].split()[-1]) == (1, "LOST")
    assert "its workflow was deleted, and the server goes on saying RUNNING; copg cancel" in shown.why
    (train,) = (each for each in tasks.tasks if each.state == "RUNNING")
    server.logs["-metadata-0-1-retry-system-container-impl-".join(train.pods[-1].rsplit("-", 1))] = "step 1\n"
    assert not lost()
    assert command("status", "align", run).out.splitlines()[0].endswith("RUNNING")


def test_following_a_run_that_gets_lost_ends(server: KfpServer) -> None:
    server.multi_user = True
    run = server.recall("run-whose-workflow-was-deleted")
    client = client_of(server)
    tasks = tasks_of(client.runs.run_service_get_run(run)).tasks
    (over,) = (each for each in tasks if each.name == "evaluate-0")
    server.logs["-metadata-0-1-retry-system-container-impl-".join(over.pods[-1].rsplit("-", 1))] = "kept\n"
    shown = follow(client, run, io.StringIO(), NOWHERE, every_s=0.01, doubt_s=0.02, timeout_s=10)
    assert shown.outcome == "LOST"
    assert "is LOST: its workflow was deleted" in shown.message()["text"]


def test_cancel_asks_waits_says_so_and_tells_the_webhook(
    command: Command, server: KfpServer, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, told = hook
    server.scripts = {"": GOING}
    run = server.begin("align")
    done = command("cancel", run, *QUICK, "--webhook", url)
    assert done.code == 0, done.error
    assert server.count("POST", ":terminate") == 1
    assert server.runs[run].state == "FAILED"  # as a server ends it
    assert done.out.splitlines()[0].endswith("CANCELED")
    assert "train                        CANCELED" in done.out
    (message,) = told
    assert (message["event"], message["text"]) == ("canceled", f"copg: run {run} is CANCELED while train ran")
    again = command("cancel", run)
    assert again.why == f"error: run {run} is CANCELED already"
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED"})]}
    server.stopping.clear()
    later = server.begin("align")
    shown = command("status", "align")
    assert shown.out.startswith(f"run {later}")
    assert f"the run before, {run}, was cancelled" in shown.out


def test_a_cancelled_run_can_be_resumed(command: Command, server: KfpServer) -> None:
    server.scripts = {"": GOING}
    run = server.begin("align")
    assert command("cancel", run, *QUICK).code == 0
    server.scripts = {
        "": [("FAILED", {"train": "FAILED"}), ("RUNNING", {}), ("SUCCEEDED", {"train": "SUCCEEDED"})]
    }
    server.looks.clear()
    assert command("resume", run, *QUICK).code == 0


def test_cancelling_what_is_over_or_was_over_before_it_could_be_stopped(
    command: Command, server: KfpServer, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    assert command("cancel", "gone").why.endswith("Run gone not found")
    run = server.recall("run-succeeded")
    assert command("cancel", run).why == f"error: run {run} is SUCCEEDED already"
    server.scripts = {"": GOING}
    going = server.begin("align")

    def ends(called: str) -> None:
        server.before = ends
        if called.endswith(":terminate"):
            server.before = None
            server.runs[going].state = "SUCCEEDED"
            server.scripts = {"": [("SUCCEEDED", {"train": "SUCCEEDED"})]}

    server.before = ends
    url, told = hook
    late = command("cancel", going, *QUICK, "--webhook", url)
    assert told == []  # how it ended, its own last task tells
    assert (late.code, late.why.endswith("was over before it could be stopped: it is SUCCEEDED")) == (1, True)


def test_the_last_task_that_fails_with_its_run_is_not_why_it_failed(
    command: Command, server: KfpServer
) -> None:
    server.scripts = {"": [("FAILED", {"train": "FAILED", "summary": "FAILED"})]}
    assert re.search(r"is FAILED in train\b(?!,)", command("status", "align", server.begin("align")).why)
    killed = server.begin("align")
    command("status", "align", killed)
    died = "killed while it ran, with 2.9 GiB of 3.0 GiB of memory in use"
    server.logs[pod_of(server.runs[killed], "train")] = "train: 3 of 9\n"
    server.logs[pod_of(server.runs[killed], "summary")] = f"error: summary: {died}\n"
    assert command("status", "align", killed).why == f"error: run {killed} is FAILED in train: {died}"
    server.scripts = {"": [("FAILED", {"train": "SUCCEEDED", "summary": "FAILED"})]}
    assert " is FAILED in summary" in command("status", "align", server.begin("align")).why


def test_a_lost_run_is_closed_by_cancelling_it(command: Command, server: KfpServer) -> None:
    server.scripts = {"": GOING}
    run = server.begin("align")
    command("status", "align", run)
    server.deleted.add(run)
    done = command("cancel", run, *QUICK)
    assert (done.code, done.out.splitlines()[0].split()[-1]) == (0, "LOST"), done.error
    assert server.count("POST", ":terminate") == 1  # a second one is refused, since the run is marked


def test_a_pod_that_does_not_start_says_why(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.scripts = {"": [("RUNNING", {"resolve": "SUCCEEDED", "train": "PENDING"})]}
    run = server.begin("align")
    node = pod_of(server.runs[run], "train")
    why = {node: "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}
    found = RunPods(gone=False, waiting=why)
    monkeypatch.setattr(pods, "log_of_pod", lambda *given: None)
    monkeypatch.setattr(pods, "look_at_pods", lambda context, namespace, workflow: found)
    shown = command("status", "align", run, "--kube-context", "mine")
    (line,) = (each for each in shown.out.splitlines() if each.startswith("train"))
    assert line.split()[1] == "PENDING"
    assert line.endswith(why[node])
    out = io.StringIO()
    with pytest.raises(StillRunning):
        follow(
            client_of(server),
            run,
            out,
            NOWHERE,
            every_s=0.01,
            doubt_s=0.02,
            timeout_s=2,
        )
    assert out.getvalue().count(why[node]) == 1
    found = RunPods(gone=True)
    assert "LOST" in command("status", "align", run, "--kube-context", "mine").why
    mine = KubeContext("kubeflow", "mine")
    followed = follow(client_of(server), run, io.StringIO(), mine, every_s=0.01, doubt_s=0.02, timeout_s=9)
    assert followed.outcome == "LOST"


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("(0).root-driver", "root"),
        ("train-driver", "train"),
        ("for-loop-2/1/train-driver", "train-1"),
        ("(0).root(0).for-loop-2(0).iteration-driver", "for-loop-2"),
        (
            "(0).root(0).for-loop-2(0).iteration-iterations(1:1)(0).iteration-item-driver",
            "for-loop-2-1",
        ),
    ],
)
def test_a_driver_whose_pod_does_not_start_says_why_in_the_place_of_what_it_holds_up(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch, driver: str, name: str
) -> None:
    before = {} if driver == "(0).root-driver" else {"resolve": "SUCCEEDED"}
    server.scripts = {"": [("RUNNING", {**before, driver: "PENDING"})]}
    run = server.begin("align")
    why = {pod_of(server.runs[run], driver): "ImagePullBackOff: no such image"}
    monkeypatch.setattr(pods, "look_at_pods", lambda *given: RunPods(gone=False, waiting=why))
    shown = command("status", "align", run, "--kube-context", "mine")
    (line,) = (each for each in shown.out.splitlines() if "ImagePullBackOff" in each)
    assert line.split()[:2] == [name, "PENDING"]
    assert line.endswith("s  the driver before it waits: ImagePullBackOff: no such image")
    out = io.StringIO()
    with pytest.raises(StillRunning):
        follow(client_of(server), run, out, NOWHERE, every_s=0.01, doubt_s=0.02, timeout_s=0.2)
    assert out.getvalue().count(line[:39]) == 1
    why.clear()  # it runs: what waits for it is told once it has begun
    assert [each.split()[0] for each in command("status", "align", run).out.splitlines()[1:-1]] == [*before]


def test_a_server_that_cannot_tell_a_lost_run_says_so_once_nothing_changes(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.recall("run-whose-workflow-was-deleted")
    said = "note: whether the run is still there is not known from here"
    shown = command("status", "align", run)
    assert (shown.code, shown.out.count(said)) == (0, 1)
    out = io.StringIO()
    with pytest.raises(StillRunning):
        follow(client_of(server), run, out, NOWHERE, every_s=0.01, doubt_s=0.02, timeout_s=0.2)
    assert out.getvalue().count(said) == 1
    monkeypatch.setattr(pods, "look_at_pods", lambda *given: RunPods(gone=False))
    assert said not in command("status", "align", run, "--kube-context", "mine").out  # its cluster knows
    client = client_of(server)
    told = client.runs.run_service_get_run(run)
    tasks = tasks_of(told)
    just_now = max(moment for task in tasks.tasks for moment in (task.start, task.end) if moment)
    assert is_lost(client, told, tasks, outline_of(client, told), just_now) is False  # it has just changed
    server.multi_user = True
    assert said not in command("status", "align", run).out  # there the logs of its pods are asked


def test_a_cluster_of_many_users_is_asked_in_the_namespace_of_the_run_alone(
    command: Command, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_at_pods(context: str, namespace: str, workflow: str) -> RunPods:
        return RunPods(gone=namespace != "team-a")

    monkeypatch.setattr(pods, "look_at_pods", look_at_pods)
    monkeypatch.setattr(pods, "log_of_pod", lambda *given: None)
    server.scripts, server.multi_user = {"": GOING}, True
    run = server.begin("align")
    for words in (("status", "align", run), ("logs", run)):
        asked = command(*words, "--kube-context", "mine")
        assert asked.why.endswith("has many users: name yours with --namespace")
    shown = command("status", "align", run, "--kube-context", "mine", "--namespace", "team-a")
    assert (shown.code, shown.out.splitlines()[0].split()[-1]) == (0, "RUNNING")
    assert command("status", "align", run).out.splitlines()[0].endswith("RUNNING")


def test_why_a_pod_waits_as_its_status_says() -> None:
    def pod(**status: Any) -> k8s.V1Pod:
        return k8s.V1Pod(status=k8s.V1PodStatus(**status))

    def waits(reason: str, message: str = "") -> k8s.V1ContainerStatus:
        state = k8s.V1ContainerState(waiting=k8s.V1ContainerStateWaiting(reason=reason, message=message))
        named = {"name": "main", "image": "x", "image_id": "", "ready": False, "restart_count": 0}
        return k8s.V1ContainerStatus(**named, state=state)

    assert reason_of(pod(container_statuses=[waits("ImagePullBackOff", "no such\nimage")])) == (
        "ImagePullBackOff: no such image"
    )
    assert reason_of(pod(container_statuses=[waits("ContainerCreating")])) == ""
    unscheduled = k8s.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="no GPU"
    )
    assert reason_of(pod(conditions=[unscheduled])) == "Unschedulable: no GPU"
