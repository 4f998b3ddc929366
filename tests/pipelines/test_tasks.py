"""Tasks out of the nodes that a real server told: each once, in every recording."""

import functools
from datetime import UTC, datetime, timedelta

import pytest
from copg_pipelines.server.logs import cause_in, pod_names
from copg_pipelines.server.nodes import Tree, node_id
from copg_pipelines.server.outline import read_outline
from copg_pipelines.server.runs import outcome
from copg_pipelines.server.tasks import Told, cancelled_at, tasks_of

from tests.pipelines.recorded import RUNS, model, nodes_of, recorded, recorded_run

COMPILED = read_outline(recorded("version")["body"]["pipeline_spec"], {})
NOW = datetime(2026, 11, 29, 0, 20, tzinfo=UTC)
WHOLE = ["resolve", "validate", "score", "reference", "evaluate-reference"]


@functools.cache
def told(name: str) -> Told:
    return tasks_of(recorded_run(name), COMPILED.items)


def states(name: str) -> dict[str, str]:
    return {each.name: each.state for each in told(name).tasks}


def test_an_id_is_the_hash_of_the_whole_name() -> None:
    # a pod of the recordings: annotations node-name and node-id
    name = "align-85xlm(0).root(0).exit-handler-1(0).resolve(0).executor(0)"
    assert node_id("align-85xlm", name) == "align-85xlm-569908420"
    assert node_id("align-85xlm", "align-85xlm") == "align-85xlm"


@pytest.mark.parametrize("name", RUNS)
def test_the_name_of_every_node_is_found(name: str) -> None:
    tree = Tree(recorded_run(name).run_details.task_details)
    named = {*tree.attempts, *(each for attempts in tree.attempts.values() for each in attempts)}
    assert len(tree.ids) >= 25
    # of a child whose own name was not told any more, its parent had told the id
    assert len(tree.ids - {tree.id(each) for each in named}) <= name.endswith("frozen")


@pytest.mark.parametrize("name", RUNS)
def test_a_task_is_told_once(name: str) -> None:
    found = told(name).tasks
    assert len({each.node for each in found}) == len(found) >= 2
    assert not [each.name for each in found if "(" in each.name or "executor" in each.name]
    assert not [each.name for each in found if each.name.startswith(("iteration", "for-loop", "root"))]


def test_a_run_that_succeeded() -> None:
    found = told("run-succeeded").tasks
    names = [*WHOLE, "train-copg_0.05", "evaluate-copg_0.05", "report", "promote", "summary"]
    assert [each.name for each in found] == names
    assert {(each.state, each.attempts) for each in found} == {("SUCCEEDED", 1)}
    train = found[5]
    assert train.line(NOW) == f"{'train-copg_0.05':<28} SUCCEEDED     199.0 s"


def test_a_task_of_which_a_cache_knew() -> None:
    cached = [name for name, state in states("run-scheduled-all-cached").items() if state == "CACHED"]
    assert cached == [*WHOLE[1:], "train-copg_0.05", "evaluate-copg_0.05", "report", "promote"]


def test_a_task_whose_pod_was_lost_is_at_its_second_attempt() -> None:
    train = told("run-going-pod-retried").tasks[-1]
    assert (train.name, train.state, train.attempts) == ("train-copg_0.05", "RUNNING", 2)
    # begun at 00:14:39, which is 321 s before 00:20
    assert train.line(NOW) == f"{'train-copg_0.05':<28} RUNNING       321.0 s  attempt 2"
    ids = {"long9xh7p7-1-2801344916-1080696054", "long9xh7p7-1-2801344916-476554675"}
    assert {*train.pods} == ids


def test_a_mistake_and_what_never_began() -> None:
    found = told("run-failed-by-a-mistake")
    assert {each.name: each.state for each in found.tasks} == {"resolve": "FAILED", "summary": "SUCCEEDED"}
    assert found.never == ("stages",)
    assert found.tasks[0].pods == ("align-85xlm-569908420",)


def test_drivers_that_failed_are_tasks_that_failed() -> None:
    found = told("run-failed-in-drivers")
    failed = [each for each in found.tasks if each.state == "FAILED"]
    assert [each.stage for each in failed] == ["evaluate", *5 * ["train"]]
    assert {(each.attempts, each.before) for each in failed} == {(3, True)}
    assert found.never == ("evaluate (5)", "promote", "report")  # of five trials


def test_the_one_task_whose_driver_panicked() -> None:
    assert {n: s for n, s in states("run-only-report-panics").items() if s != "SUCCEEDED"} == {
        "report": "FAILED"
    }


def test_a_run_that_was_cancelled_is_not_one_that_failed() -> None:
    run = recorded_run("run-resumed-then-cancelled")
    assert (run.state, outcome(run)) == ("FAILED", "CANCELED")
    found = states("run-resumed-then-cancelled")
    assert found["train-copg_0.05"] == "CANCELED"
    assert "FAILED" not in found.values()  # what failed before it was resumed has succeeded since
    run.state_history = run.state_history[:3]  # before it was resumed: PENDING, RUNNING, FAILED
    assert outcome(run) == "FAILED"


@pytest.mark.parametrize(
    ("state", "history", "cancelled"),
    [
        ("FAILED", ["RUNNING", "CANCELING", "FAILED"], True),
        ("FAILED", ["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"], False),  # resumed
        ("SUCCEEDED", ["RUNNING", "CANCELING", "SUCCEEDED"], False),  # too late
        ("CANCELING", ["RUNNING", "CANCELING"], False),  # not yet
        ("FAILED", ["PENDING", "CANCELING", "FAILED"], True),
        ("CANCELED", ["RUNNING", "CANCELED"], True),  # of servers that have a word for it
    ],
)
def test_the_history_tells_who_was_cancelled(state: str, history: list[str], cancelled: bool) -> None:
    told = [{"update_time": "2026-11-28T23:48:12Z", "state": each} for each in history]
    run = model("V2beta1Run", {"state": state, "state_history": told})
    assert (cancelled_at(run) is not None) is cancelled


def test_states_that_stopped_are_noticed_and_those_of_a_run_that_succeeded_known() -> None:
    run = recorded_run("run-succeeded-states-frozen")
    nodes = run.run_details.task_details
    assert (len(nodes), sum(each.state == "RUNNING" for each in nodes)) == (138, 46)
    found = tasks_of(run, COMPILED.items)
    assert found.stopped == datetime(2026, 11, 28, 23, 52, 27, tzinfo=UTC)
    assert {each.state for each in found.tasks} == {"SUCCEEDED"}
    old = [each for each in found.tasks if each.start is None]
    # of five trials one had ended by then; of the others no server knows how long they took
    assert ([each.stage for each in old], [each.seconds(NOW) for each in old]) == (["train"] * 4, [None] * 4)
    run.state = "FAILED"
    assert {each.state for each in tasks_of(run).tasks} == {"SUCCEEDED", "UNKNOWN"}
    run.state = "RUNNING"  # the launchers, who write down what they do themselves, went on for four minutes
    assert tasks_of(run).stopped == found.stopped


@pytest.mark.parametrize("name", [each for each in RUNS if not each.endswith("frozen")])
def test_no_other_run_is_taken_for_one_whose_states_stopped(name: str) -> None:
    assert told(name).stopped is None


def test_a_pod_that_waits() -> None:
    run = recorded_run("run-succeeded")
    run.state, run.state_history = "RUNNING", None
    run.run_details.task_details = nodes_of(run, {"resolve": "SUCCEEDED", "for-loop-2/1/train": "PENDING"})
    found = tasks_of(run, COMPILED.items).tasks
    assert [(each.name, each.state) for each in found] == [("resolve", "SUCCEEDED"), ("train-1", "PENDING")]


def test_loops_are_told_by_what_they_go_over() -> None:
    assert COMPILED.items == {"for-loop-1": ("reference", "champion"), "for-loop-2": ("copg_0.05",)}
    spec = recorded("version")["body"]["pipeline_spec"]
    given = {"trials": [{"method": "ipo", "beta": 0.1}, {"name": "mine"}]}
    assert read_outline(spec, given).items["for-loop-2"] == ("ipo_0.1", "mine")
    assert read_outline({}, {}).items == {}


def test_names_of_pods() -> None:
    pod = recorded("log-by-node-id")["request"]["path"].split("/")[-2]
    # by which the same log was given
    name = "align-85xlm-metadata-0-1-retry-system-container-impl-569908420"
    assert (pod, next(pod_names(pod, COMPILED))) == ("align-85xlm-569908420", name)


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("error: train: no room\nE1129 0 launcher_v2.go:449] exit status 1\n", "no room"),
        (
            "Traceback:\n  x\ntorch.OutOfMemoryError: CUDA\nF1129 1 a.go:9] failed",
            "torch.OutOfMemoryError: CUDA",
        ),
        ("I1129 0 main.go:67] begins\nF1129 0 main.go:79] type mismatch\n", "type mismatch"),
        ("E1129 0 a.go:1] x\npanic: runtime error: nil\n\ngoroutine 1\n", "panic: runtime error: nil"),
        ("all is well\n", ""),
        ("error: " + "long " * 100 + "the end", "... " + ("long " * 100 + "the end")[-300:]),
    ],
)
def test_the_line_that_says_why(log: str, cause: str) -> None:
    assert cause_in(log, "train") == cause


def test_the_cause_of_a_recorded_failure() -> None:
    log = recorded("log-by-node-id")["body"]
    assert cause_in(log, "resolve") == "/runs/nowhere.jsonl: no such file or folder"


def test_the_server_that_tells_no_ids_has_its_tasks_by_name() -> None:
    names = ["root", "root-driver", "resolve", "executor", "train"]
    nodes = [{"display_name": each, "state": "RUNNING", "start_time": NOW.isoformat()} for each in names]
    run = model("V2beta1Run", {"state": "RUNNING", "run_details": {"task_details": nodes}})
    assert [each.name for each in tasks_of(run).tasks] == ["resolve", "train"]
    assert tasks_of(run).tasks[0].seconds(NOW + timedelta(seconds=3)) == 3.0
