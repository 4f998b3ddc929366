"""The run before, where it was cancelled or lost: the next run's summary, its log and its webhook say so."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from copg_components.resolve import resolve
from copg_components.summary import summary

from copg.run.cut_off import make_way, told_of_before, unfinished
from copg.run.ending import show_failure
from copg.run.history import read_runs
from copg.run.summary import HISTORY, PAGE, SUMMARY
from copg.run.task_record import RUN, TaskRecord, read_json, write_record
from copg.run.webhook import message_of

VALIDATE = {"task": "validate", "stage": "validate", "subject": None, "key": "k", "loop": None}


@pytest.fixture
def recipe(tmp_path: Path, reference_dir: Path) -> dict[str, Any]:
    (tmp_path / "records.jsonl").write_text(json.dumps({"prompt": "red cat", "completions": ["runs", "is"]}))
    named = {"name": "demo", "records": str(tmp_path / "records.jsonl"), "model": str(reference_dir)}
    rewards = [{"name": "length", "params": {"target": 4}}]
    trials = [{"method": "copg", "beta": 0.1}]
    return {**named, "rewards": rewards, "trials": trials, "run_dir": str(tmp_path / "runs")}


def begin(recipe: dict[str, Any], *tasks: str, state: str) -> str:
    """Resolve a run, and leave records of some of its tasks, as a cluster's pods do; its id."""
    resolve.python_func(**recipe)
    home = Path(recipe["run_dir"])
    run = read_json(home / RUN)
    for task in run["tasks"]:
        if not tasks or task["task"] in tasks:
            given = {name: task[name] for name in ("stage", "task", "key", "subject")}
            write_record(home, TaskRecord(**given, run=run["run"], state=state))
    return str(run["run"])


def end(recipe: dict[str, Any], state: str) -> dict[str, Any]:
    """Run the exit handler of a run; the summary that it leaves."""
    status = SimpleNamespace(state=state, pipeline_job_resource_name="align-1")
    summary.python_func(run_dir=recipe["run_dir"], status=status)
    return read_json(Path(recipe["run_dir"]) / SUMMARY)


def test_the_exit_handler_of_the_next_run_says_that_the_one_before_was_cancelled(
    recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = begin(recipe, "train-copg_0.1", state="running")  # cancelled: its exit handler never started
    second = begin(recipe, state="succeeded")
    capsys.readouterr()
    found = end(recipe, "SUCCEEDED")
    assert (found["run"], found["state"]) == (second, "succeeded")
    assert found["before"]["run"] == first
    assert found["before"]["stopped"] == ["train-copg_0.1"]
    line = f"the run before, {first}, was cancelled or lost while train-copg_0.1 ran: it left no summary"
    assert line in capsys.readouterr().out.splitlines()
    message = message_of(found)  # nobody was promoted
    assert message is not None
    assert message["before"] == found["before"]
    home = Path(recipe["run_dir"])
    assert read_json(home / HISTORY / f"{second}.json")["before"] == found["before"]
    assert [each.run for each in read_runs([home])] == [second]
    assert unfinished(home) is None  # the second ended by itself


def test_a_run_that_fails_tells_of_the_one_before_too(
    recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = begin(recipe, "validate", "score", state="running")
    begin(recipe, "validate", state="failed")
    found = end(recipe, "FAILED")
    assert (found["state"], found["before"]["stopped"]) == ("failed", ["score", "validate"])
    capsys.readouterr()
    show_failure({**found, "log": "/log"})
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith(f"the run before, {first}, was cancelled or lost while score, validate ran")
    assert shown[-1].startswith("error: stage validate")


@pytest.mark.parametrize("between", [{}, {"tasks": [VALIDATE], "alone": True}])
def test_what_ends_without_a_summary_of_its_own_hands_on_what_it_found(
    tmp_path: Path, between: dict[str, Any]
) -> None:
    (tmp_path / RUN).write_text(json.dumps({"run": "first", "started": "then", "tasks": [VALIDATE]}))
    for name, key in (("resolve", "always"), ("validate", "k")):
        write_record(tmp_path, TaskRecord(stage=name, task=name, key=key, run="first", state="running"))
    before = unfinished(tmp_path)
    assert before == {"run": "first", "started": "then", "stopped": ["validate"]}
    # resolve, whose pod is lost before it knows its tasks; or one stage alone
    (tmp_path / RUN).write_text(json.dumps({"run": "second", "before": before, **between}))
    assert unfinished(tmp_path) == before


def test_a_run_that_left_a_summary_was_not_cut_off(tmp_path: Path) -> None:
    assert unfinished(tmp_path / "empty") is None
    (tmp_path / RUN).write_text(json.dumps({"run": "first", "tasks": [VALIDATE]}))
    assert unfinished(tmp_path) == {"run": "first", "started": None, "stopped": []}
    assert told_of_before({"before": unfinished(tmp_path)}) == (
        "the run before, first, was cancelled or lost: it left no summary"
    )
    (tmp_path / SUMMARY).write_text(json.dumps({"run": "first"}))
    assert unfinished(tmp_path) is None
    assert told_of_before({"before": None}) == told_of_before({}) == ""


def test_a_run_here_tells_of_one_that_was_killed_before_it_however_often(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    first, home = begin(recipe, "score", state="running"), Path(recipe["run_dir"])
    (home / PAGE).touch()
    for _ in range(2):  # the second is killed before it has resolved anything
        make_way(home)
        assert not (home / PAGE).exists()
        found = unfinished(home)
        assert found is not None
        assert (found["run"], found["stopped"]) == (first, ["score"])
    begin(recipe, state="succeeded")
    assert end(recipe, "SUCCEEDED")["before"]["run"] == first
    make_way(home)
    assert [name for name in (RUN, SUMMARY, PAGE) if (home / name).exists()] == []
    assert unfinished(home) is None
