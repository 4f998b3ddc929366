"""A run that is over, of whose tasks its server stopped telling: what logs tell of the rest."""

import functools
from typing import Any

import pytest
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.server.hindsight import ended_well
from copg_pipelines.server.nodes import node_id
from copg_pipelines.server.outline import Outline, read_outline
from copg_pipelines.server.tasks import tasks_of

from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.recorded import FOLDER, recorded, recorded_run

RAN = "run-succeeded-states-frozen"


def says(level: str, where: str, what: str) -> str:
    """A line of KFP's launcher."""
    return f"{level}1129 00:12:20.178861      16 {where}] {what}\n"


BEGUN = says("I", "main.go:67", "Setting log level to: '1'")
LEFT = says("I", "launcher_v2.go:1230", "ExecutorOutput: {\n}")
LEFT_NO_FILE = says("I", "launcher_v2.go:1218", "output metadata file does not exist in /minio/output.json")
UPLOADS = says("I", "launcher_v2.go:867", "Executing uploadOutputArtifacts attempt: 1")
PUBLISHED = says("I", "launcher_v2.go:206", "publish success.")
UPDATES = says("I", "client.go:847", "Attempting to update DAG state for execution 317")
WELL = f"{BEGUN}train: 9 of 9\n{LEFT}{UPLOADS}{PUBLISHED}{UPDATES}"
"""As the source of KFP 2.17's launcher has it: after a success it says nothing more."""
BADLY = recorded("log-by-node-id")["body"]
"""Of resolve; it ends with the launcher's fatal line, after the same word of what was published."""
BROKEN = says("E", "launcher_v2.go:449", "Component failed to execute successfully: signal: killed")
NOT_KEPT = says("E", "launcher_v2.go:898", "All upload artifact attempts failed: no bucket")
NOT_BEGUN = says(
    "E", "launcher_v2.go:195", "Skipping publish since execution is nil. Original err is: no MLMD"
)
FATAL = says("F", "main.go:59", "failed to execute component: failed to publish results to ML Metadata")
GAVE_UP = "error: train: no such file\n"
CAUSE = "/runs/nowhere.jsonl: no such file or folder"
WORKFLOW, ROOT = "align-5bk7p", "align-5bk7p(0).root(0)"
STAGES = f"{ROOT}.exit-handler-1(0).stages(0)"
SUMMARY = f"{ROOT}.exit-handler-1.onExit(0).summary"
TRIALS = ["copg_0.25", "copg_0.05", "copg_0.002", "ipo_0.05", "dpo_0.3"]


def trial(number: int, task: str) -> str:
    """Whole name of the node of a task in the loop over trials."""
    item = f"iteration-iterations({number}:{number})(0).iteration-item(0)"
    return f"{STAGES}.for-loop-2(0).{item}.{task}"


def pod(task: str, attempt: int = 0) -> str:
    """The name under which a server keeps the log of a pod of whose node it lost sight."""
    number = node_id(WORKFLOW, f"{task}(0).executor({attempt})").rpartition("-")[2]
    return f"{WORKFLOW}-metadata-0-1-retry-system-container-impl-{number}"


@functools.cache
def compiled() -> tuple[Any, Any]:
    return read_compiled(FOLDER.parent / "0.1.0/demo_dag.yaml")


@pytest.fixture
def run(server: KfpServer) -> str:
    """The recorded run of five trials as one that failed; the log of a task that ended well is there."""
    found = server.recall(RAN)
    told = server.runs[found]
    told.state = told.state_history[-1].state = "FAILED"
    spec, _ = compiled()
    platform = recorded("version")["body"]["pipeline_spec"]["platform_spec"]
    version = server.versions[told.pipeline_version_reference.pipeline_version_id]
    version.pipeline_spec = {"pipeline_spec": spec, "platform_spec": platform}
    server.logs[pod(f"{STAGES}.validate")] = WELL
    return found


def line(out: str, task: str) -> str:
    (found,) = (each for each in out.splitlines() if each.startswith(f"{task} "))
    return " ".join(found.split())


def test_the_names_that_a_dag_gives_are_those_of_the_recorded_nodes() -> None:
    nodes = [each.node for each in tasks_of(recorded_run(RAN)).tasks]
    spec, platform = compiled()
    outline: Outline = read_outline({"pipeline_spec": spec, "platform_spec": platform}, {})
    paths = {f"{WORKFLOW}{each}" for each in outline.paths}
    assert len(nodes) == 10
    assert set(nodes) <= paths
    rest = {*(trial(each, "evaluate-2") for each in range(5)), f"{STAGES}.report", f"{STAGES}.promote"}
    champion = f"{STAGES}.for-loop-1(0).iteration-iterations(1:1)(0).iteration-item(0).evaluate"
    assert paths - set(nodes) == {*rest, champion, SUMMARY}
    mistake = recorded_run("run-failed-by-a-mistake")
    (last,) = (each.node for each in tasks_of(mistake).tasks if each.name == "summary")
    assert last.partition("(")[2] == SUMMARY.partition("(")[2]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (WELL, True),
        (WELL.replace(LEFT, LEFT_NO_FILE), True),
        (BEGUN + "train: 9 of 9" + LEFT + UPLOADS + PUBLISHED, True),  # a bar without an end of line
        (
            BEGUN + GAVE_UP + LEFT + UPLOADS + PUBLISHED,
            True,
        ),  # of a process that was begun again: it exited with 0
        (BADLY, False),
        (BADLY[: BADLY.index("I1129 00:12:20.270953")], False),  # killed before the fatal line
        (BEGUN + "3 of 9" + BROKEN + UPLOADS + PUBLISHED, False),
        (BEGUN + LEFT + UPLOADS + NOT_KEPT + PUBLISHED, False),
        (WELL + FATAL, False),  # MLMD or the cache refused what it left, or an output could not be read
        (BEGUN + NOT_BEGUN, False),
        (BEGUN + LEFT + PUBLISHED + "panic: runtime error\n", False),
        (BEGUN + "3 of 9\n" + GAVE_UP, False),  # killed before the launcher saw its end
        (BEGUN, None),
        (BEGUN + "3 of 9\n", None),
        (BEGUN + LEFT + UPLOADS, None),
        (BEGUN + LEFT + PUBLISHED, None),  # an output could not be read, or a launcher that says less
        (BEGUN + PUBLISHED, None),
        (BEGUN + "publish success.\n", None),  # in a completion
        ("", None),
    ],
)
def test_a_log_tells_an_end_where_the_launcher_surely_says_so(log: str, expected: bool | None) -> None:
    assert ended_well(log) is expected


def test_the_log_of_a_task_that_was_said_to_run_says_that_and_why_it_failed(
    command: Command, server: KfpServer, run: str
) -> None:
    server.logs |= {pod(trial(0, "train")): WELL, pod(trial(1, "train")): BADLY}
    shown = command("status", "align", run)
    assert line(shown.out, f"train-{TRIALS[0]}").endswith(" SUCCEEDED")
    assert line(shown.out, f"train-{TRIALS[1]}").endswith(f" FAILED resolve: {CAUSE}")
    assert line(shown.out, f"train-{TRIALS[3]}").endswith(" UNKNOWN no log of it could be had")
    assert shown.why == f"error: run {run} is FAILED in train-{TRIALS[1]}: resolve: {CAUSE}"
    assert "what followed is told as far as logs tell it" in shown.out
    printed = command("logs", run)
    assert printed.out.strip() == BADLY.strip()


def test_a_later_attempt_and_a_task_of_which_the_server_never_told_are_found(
    command: Command, server: KfpServer, run: str
) -> None:
    server.logs |= {pod(trial(1, "train")): BADLY, pod(trial(1, "train"), attempt=1): WELL}
    server.logs |= {pod(f"{STAGES}.report"): BADLY}
    shown = command("status", "align", run)
    assert line(shown.out, f"train-{TRIALS[1]}").endswith(" SUCCEEDED attempt 2")
    assert f"is FAILED in report: resolve: {CAUSE}" in shown.why
    assert "promote" not in shown.out
    assert command("logs", run, "report").out.strip() == BADLY.strip()


def test_the_last_task_tells_of_one_that_was_killed(command: Command, server: KfpServer, run: str) -> None:
    server.logs |= {pod(trial(1, "train")): "train: 3 of 9\n", pod(SUMMARY): BADLY}
    server.logs |= {pod(trial(0, "train")): BEGUN + PUBLISHED}
    shown = command("status", "align", run)
    for number in (0, 1):
        assert line(shown.out, f"train-{TRIALS[number]}").endswith(
            " UNKNOWN its log does not say how it ended"
        )
    assert shown.why == f"error: run {run} is FAILED in summary: resolve: {CAUSE}"


def test_a_driver_that_failed_in_the_meantime_is_told(command: Command, server: KfpServer, run: str) -> None:
    driver = node_id(WORKFLOW, f"{STAGES}.promote-driver(0)").rpartition("-")[2]
    server.logs |= {f"{WORKFLOW}-system-container-driver-{driver}": "F1129 1 main.go:79] no such store\n"}
    over = node_id(WORKFLOW, f"{STAGES}.validate(0).executor(0)").rpartition("-")[2]
    server.logs |= {f"{WORKFLOW}-system-container-driver-{over}": WELL}  # a form that is seen to be right
    assert command("status", "align", run).why == f"error: run {run} is FAILED in promote: no such store"


def test_where_no_log_gives_a_cause_that_is_said_and_what_to_run(
    command: Command, server: KfpServer, run: str
) -> None:
    names = [f"train-{each}" for each in (*TRIALS[:2], *TRIALS[3:])]
    why = command("status", "align", run).why
    said = f"no log gives a cause: copg logs {run} {names[0]} prints what there is, of {', '.join(names)}"
    assert why == f"error: run {run} is FAILED; {said}"
    waited = command("status", "align", run, "--follow")
    assert waited.why == why
    server.scripts = {"": [("FAILED", {"train": "FAILED"})]}
    plain = server.begin("align")
    command("status", "align", plain)
    server.logs = dict.fromkeys(server.logs, "step 1\n")
    assert command("status", "align", plain).why.endswith(
        f"is FAILED in train; no log gives a cause: copg logs {plain} train prints what there is"
    )


def test_tasks_of_a_run_that_succeeded_are_shown_where_their_logs_are(
    command: Command, server: KfpServer, run: str
) -> None:
    told = server.runs[run]
    told.state = told.state_history[-1].state = "SUCCEEDED"
    server.logs |= {pod(f"{STAGES}.report"): "step 1\n", pod(trial(4, "evaluate-2")): WELL}
    shown = command("status", "align", run)
    assert (shown.code, "UNKNOWN" in shown.out) == (0, False)
    assert line(shown.out, "report").endswith(" SUCCEEDED")
    assert line(shown.out, f"evaluate-{TRIALS[4]}").endswith(" SUCCEEDED")
    assert "promote" not in shown.out


def test_what_was_stopped_with_its_run_did_not_fail(command: Command, server: KfpServer, run: str) -> None:
    told = server.runs[run]
    last = told.state_history[-1]
    asked = type(last)(update_time=last.update_time, state="CANCELING")
    told.state_history.insert(-1, asked)
    server.logs |= {pod(trial(1, "train")): BADLY}
    shown = command("status", "align", run)
    assert line(shown.out, f"train-{TRIALS[1]}").startswith(f"train-{TRIALS[1]} CANCELED")
    assert shown.why == f"error: run {run} is CANCELED while train-{TRIALS[1]} ran"
