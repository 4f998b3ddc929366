"""What surrounds a local run: who may use a directory, how many cores, what is believed, what is shown."""

import builtins
import errno
import io
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines import local
from copg_pipelines.watch import line, watching

from copg.run.ending import failure_line, show_summary
from copg.run.recipe import parse_recipe
from copg.run.task_record import RUN, TaskRecord, write_record

RECIPE = parse_recipe(
    {
        "name": "x",
        "records": "r",
        "model": "m",
        "rewards": [{"name": "length", "params": {"max": 5}}],
        "trials": [{"beta": 1.0}],
    }
)


def test_two_runs_never_share_a_directory(tmp_path: Path) -> None:
    who = rf"another run \(process {os.getpid()} of .*\) is using it"
    with local._alone(tmp_path), pytest.raises(local.RunError, match=who):
        local.run_local("align", RECIPE, tmp_path)


def test_a_volume_without_locks_is_said_and_not_taken_for_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*given: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(local.fcntl, "flock", refused)
    with local._alone(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} of ")
    assert capsys.readouterr().err == f"warning: {tmp_path}/.lock: cannot be locked: No locks available\n"


def test_the_exit_handler_of_a_run_here_has_no_webhook_to_tell() -> None:
    built = local._build("align", RECIPE, "")
    container = built.pipeline_spec.deployment_spec["executors"]["exec-summary"]["container"]
    assert [dict(each) for each in container["env"]] == [{"name": "COPG_WEBHOOK_URL"}]  # of no value


def test_as_many_cores_as_the_user_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert local.count_cores() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "²")
    assert local.count_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert local.count_cores() == len(os.sched_getaffinity(0))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run whose one task left a finished artifact."""
    task = {"task": "score", "stage": "score", "subject": None, "key": "k" * 64, "loop": None}
    (tmp_path / RUN).write_text(json.dumps({"run": "r", "tasks": [task]}))
    scored = tmp_path / "scored"
    scored.mkdir()
    (scored / "manifest.json").write_text("{}")
    record = TaskRecord(stage="score", task="score", key="k" * 64, run="r", state="succeeded")
    record.outputs["scored"] = str(scored)
    write_record(tmp_path, record)
    return tmp_path


def test_a_success_is_believed_only_with_its_artifacts(run_dir: Path) -> None:
    assert local.missing_outputs(run_dir, succeeded=True) is None
    assert local.missing_outputs(run_dir, succeeded=False)["cause"] == "failed outside of the stages"
    (run_dir / "scored/manifest.json").unlink()
    doubt = local.missing_outputs(run_dir, succeeded=True)
    assert (doubt["stage"], doubt["cause"]) == ("score", f"left no finished scored at {run_dir / 'scored'}")


def test_what_the_runner_leaves_changed_is_put_back() -> None:
    printed, handlers, log = builtins.print, logging.getLogger().handlers[:], io.StringIO()
    with local._captured(log):
        builtins.print = lambda *args, **more: None
        logging.getLogger().handlers.clear()
        os.write(2, b"")
    assert builtins.print is printed
    assert logging.getLogger().handlers == handlers


def test_a_line_appears_when_a_task_ends_and_not_for_older_ones(tmp_path: Path) -> None:
    write_record(
        tmp_path, TaskRecord(stage="validate", task="validate", key="a" * 64, state="succeeded", seconds=1)
    )
    out = io.StringIO()
    with watching(tmp_path, out):
        train = TaskRecord(stage="train", task="train-copg_0.1", key="b" * 64)
        write_record(tmp_path, train)
        train.state, train.seconds, train.message = "failed", 12.34, "no room"
        write_record(tmp_path, train)
    assert out.getvalue() == line(train) + "\n"
    assert line(train).split() == ["train-copg_0.1", "12.3", "s", "failed:", "no", "room"]


def test_while_a_task_runs_it_is_told_how_far_it_is(tmp_path: Path) -> None:
    tasks = [{"task": t, "stage": t, "key": t * 64, "loop": None} for t in "ab"]
    (tmp_path / RUN).write_text(json.dumps({"run": "r", "tasks": tasks}))
    log, out = tmp_path / "log", io.StringIO()
    log.write_text("    a: 3 of 9, 20 s left (0.3/s)\n    a: 4 of 9, 1")  # a line that is being written
    with watching(tmp_path, out, log=log, told_every_s=0.0):
        write_record(tmp_path, TaskRecord(stage="resolve", task="resolve", key="always", state="succeeded"))
        write_record(tmp_path, TaskRecord(stage="a", task="a", key="a" * 64))
        time.sleep(0.5)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith(" s   0 of 2 tasks")
    assert re.fullmatch(r"\.\.\. a 3 of 9, 1 s; 0 of 2 tasks, over (19|20) s left", lines[1])


def test_warnings_of_resolve_reach_the_terminal(tmp_path: Path) -> None:
    out = io.StringIO()
    with watching(tmp_path, out):
        (tmp_path / RUN).write_text(json.dumps({"warnings": ["little memory"]}))
        write_record(tmp_path, TaskRecord(stage="resolve", task="resolve", key="always", state="succeeded"))
    assert out.getvalue().splitlines()[1] == "warning: little memory"


def test_the_gains_that_the_gate_will_see_reach_the_terminal_when_the_logs_are_scored(tmp_path: Path) -> None:
    out = io.StringIO()
    with watching(tmp_path, out):
        known = {"stage": "score", "task": "score", "key": "a" * 64, "state": "succeeded"}
        write_record(tmp_path, TaskRecord(**known, facts={"told": "gate: 20 prompts see a gain of 0.3"}))
        write_record(
            tmp_path, TaskRecord(stage="train", task="train-copg_1", key="b" * 64, state="succeeded")
        )
    assert [text.split()[0] for text in out.getvalue().splitlines()] == ["score", "gate:", "train-copg_1"]


def test_a_failure_is_one_line() -> None:
    failure = {"stage": "train", "trial": "copg_0.1", "cause": "no room"}
    summary: dict[str, Any] = {"failure": failure, "log": "/log"}
    assert failure_line(summary) == "error: stage train, trial copg_0.1: no room (log: /log)"
    failure["trial"] = None
    assert failure_line(summary) == "error: stage train: no room (log: /log)"


def test_the_table_shows_what_was_measured_and_what_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {
        f"{q}{end}": v for q in ("reward", "kl") for end, v in (("", 0.5), ("_low", 0.25), ("_high", 0.75))
    }
    nothing = dict.fromkeys(measured)
    summary = {
        "reference": measured,
        "trials": [
            {"name": "good", "promoted": True, "diverged": False, **measured},
            {"name": "bad", "promoted": False, "diverged": True, **nothing},
        ],
        "reasons": ["it earns more"],
        "cached": ["validate"],
        "promoted": True,
        "report": "/report",
    }
    show_summary(summary)
    shown = capsys.readouterr().out
    assert "0.500" in shown
    assert "0.250 to 0.750" in shown
    rows = {row.split()[0]: row for row in shown.splitlines() if row.strip()}
    assert rows["good"].endswith("promoted")
    assert rows["bad"].split() == ["bad", "-", "-", "diverged"]
    assert "unchanged, from the cache: validate" in shown
    assert "report: /report" in shown
