"""``run``, ``status`` and ``resume`` against a server: what is shown, and the exit code."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer

QUICK = ("--poll", "0.01")
RUNS = "POST /apis/v2beta1/runs"
WELL = [
    ("PENDING", {}),
    ("RUNNING", {"resolve": "RUNNING"}),
    ("RUNNING", {"resolve": "SUCCEEDED", "train": "RUNNING"}),
    ("SUCCEEDED", {"resolve": "SUCCEEDED", "train": "SUCCEEDED", "report": "SUCCEEDED"}),
]
BADLY = [
    ("RUNNING", {"resolve": "SUCCEEDED", "train": "RUNNING"}),
    ("FAILED", {"resolve": "SUCCEEDED", "train": "FAILED"}),
]


def run(command: Command, *words: str) -> Any:
    quick = () if "--no-wait" in words else QUICK
    return command.with_recipe("run", "align", "--on", "cluster", *quick, *words)


def test_a_run_is_submitted_pinned_and_followed_to_its_end(command: Command, server: KfpServer) -> None:
    server.scripts = {"": WELL}
    done = run(command, "--service-account", "copg-runner", "--pipeline-root", "s3://bucket/copg")
    assert done.code == 0, done.error
    (started,), (version,) = server.runs.values(), server.versions.values()
    assert started.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (started.service_account, started.runtime_config.pipeline_root) == (
        "copg-runner",
        "s3://bucket/copg",
    )
    (group,) = server.experiments.values()
    assert (group.display_name, started.experiment_id) == ("align", group.experiment_id)
    page = f"{server.url}/#/runs/details/{started.run_id}"
    changes = [" ".join(line.split()[:2]) for line in done.out.splitlines() if re.search(r"[A-Z]{7}", line)]
    # one line a change, without the nodes of the workflow engine
    assert changes == [
        "resolve RUNNING",
        "resolve SUCCEEDED",
        "train RUNNING",
        "train SUCCEEDED",
        "report SUCCEEDED",
    ]
    assert done.out.splitlines()[-2:] == [f"run: {page}", f"report: {page} (task report, output page)"]


def test_a_failed_run_exits_with_its_task_and_cause(command: Command, server: KfpServer) -> None:
    server.scripts = {"": BADLY}
    failed = run(command)
    assert failed.code == 1
    assert failed.why.endswith("is FAILED in train: no such file")
    assert re.search(r"train +FAILED +2\.5 s  no such file", failed.out)


def test_a_cancelled_run_ends_the_wait_and_fails(command: Command, server: KfpServer) -> None:
    server.scripts = {"": [("RUNNING", {"train": "RUNNING"}), ("CANCELING", {"train": "RUNNING"}), BADLY[-1]]}
    cancelled = run(command)
    assert cancelled.code == 1
    assert cancelled.why.endswith("is CANCELED while train ran")


def test_a_wait_that_is_over_says_how_to_go_on(command: Command, server: KfpServer) -> None:
    server.scripts = {"": WELL[1:2]}
    waited = run(command, "--timeout", "0.002")
    assert waited.code == 124
    (started,) = server.runs
    assert f"run {started} is still RUNNING after 0.12 s and goes on" in waited.why
    said = waited.why.partition("to follow it: copg ")[2].split()
    server.scripts = {"": WELL}
    followed = command(*said, *QUICK, host=False)
    assert (followed.code, "train" in followed.out) == (0, True)
    server.scripts = {"": WELL[1:2]}
    again = command(
        "status", "align", started, "--follow", "--timeout", "0.002", "--namespace", "team-a", *QUICK
    )
    assert again.why.endswith(f"copg status align {started} --follow --host {server.url} --namespace team-a")


def test_nobody_has_to_wait(command: Command, server: KfpServer) -> None:
    done = run(command, "--no-wait")
    assert (done.code, server.count("GET", "/runs/")) == (0, 0), done


def test_a_version_that_is_there_runs_without_a_recipe(command: Command, server: KfpServer) -> None:
    first = command.create()
    command.create("train.epochs=2")
    by_digest = first.rpartition("-")[2]
    for name in (first, by_digest):
        done = command("run", "align", "--on", "cluster", "--version", name, "--no-wait")
        assert done.out.startswith(f"version: {first}"), done.error
    wrong = command("run", "align", "--on", "cluster", "--version", "nine")
    assert "version='nine' is unknown; the latest are: " in wrong.why
    assert command("run", "align", "--on", "cluster").why == "error: give either --recipe or --version"


def test_a_run_whose_answer_got_lost_is_not_started_twice(command: Command, server: KfpServer) -> None:
    server.broken = [("POST /apis/v2beta1/runs", 503, True)]
    done = run(command, "--no-wait")
    assert (done.code, len(server.runs)) == (0, 1), done.error
    server.broken = [("POST /apis/v2beta1/runs", 503, False)]
    done = run(command, "--no-wait")
    assert (done.code, len(server.runs)) == (0, 2), done.error


def test_a_run_that_begins_after_the_client_gave_up_is_found_and_not_asked_for_again(
    command: Command, server: KfpServer
) -> None:
    server.broken, server.late, server.silent_s = [(RUNS, 0, True)], True, 3.0
    done = run(command, "--no-wait", "--request-timeout", "1.5", "--patience", "30")
    assert (done.code, len(server.runs), server.asked.count(RUNS)) == (0, 1, 1), done.error
    (started,) = server.runs
    assert started in done.out


@pytest.mark.parametrize("status", [0, 504])
def test_a_run_that_was_never_answered_for_is_told_and_not_asked_for_again(
    command: Command, server: KfpServer, status: int
) -> None:
    server.broken, server.silent_s = [(RUNS, status, False)], 3.0
    lost = run(command, "--no-wait", "--request-timeout", "1.5", "--patience", "4")
    assert (lost.code, len(server.runs), server.asked.count(RUNS)) == (1, 0, 1)
    assert "; it may have been started all the same: copg status align shows it" in lost.why


def test_a_short_outage_while_waiting_does_not_matter_and_a_long_one_leaves_the_run(
    command: Command, server: KfpServer
) -> None:
    server.scripts = {"": WELL}
    server.broken = [("GET /apis/v2beta1/runs/", 502, False)] * 3
    assert run(command).code == 0
    server.looks.clear()
    server.broken = [("GET /apis/v2beta1/runs/", 502, False)] * 1000
    left = run(command)
    assert left.code == 1
    assert "gave up after 1 s; the run goes on; to follow it: copg status align" in left.why


def test_status_shows_the_latest_run_and_fails_with_it(command: Command, server: KfpServer) -> None:
    server.scripts = {"": WELL[-1:]}
    run(command, "--no-wait")
    shown = command("status", "align")
    assert shown.code == 0
    assert re.search(r"resolve +SUCCEEDED +2\.5 s", shown.out)
    server.scripts = {"": BADLY[-1:]}
    run(command, "--no-wait")
    failed = command("status", "align")
    newest = list(server.runs)[-1]
    assert failed.out.startswith(f"run {newest}")
    assert (failed.code, "is FAILED in train" in failed.why) == (1, True)
    assert command("status", "align", "gone").why.endswith("Run gone not found")


def test_status_of_a_pipeline_that_never_ran(command: Command, server: KfpServer) -> None:
    command.create()
    assert command("status", "align").why == "error: the pipeline has no run yet"


def test_a_failed_run_is_resumed_from_its_failed_task(command: Command, server: KfpServer) -> None:
    server.scripts = {"": BADLY[-1:]}
    run(command)
    (name,) = server.runs
    server.looks.clear()
    server.scripts = {"": [*BADLY[-1:], *WELL[2:]]}
    resumed = command("resume", name, *QUICK)
    assert resumed.code == 0, resumed.error
    assert server.count("POST", f"/runs/{name}:retry") == 1
    assert len(server.runs) == 1
    again = command("resume", name)
    assert again.why.endswith("is SUCCEEDED: only one that failed or was cancelled can be resumed")


def test_a_webhook_is_told_of_a_run_that_failed_and_of_no_other(
    command: Command, server: KfpServer, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, told = hook
    server.scripts = {"": WELL}
    assert run(command, "--webhook", url).code == 0
    assert told == []
    server.looks.clear()
    server.scripts = {"": BADLY}
    failed = run(command, "--webhook", url)
    assert failed.code == 1
    (message,) = told
    assert message["event"] == "failed"
    assert message["text"].endswith("is FAILED in train: no such file")
    assert message["failure"] == {"stage": "train", "trial": None, "cause": "no such file"}
    assert [each["task"] for each in message["tasks"]] == ["resolve", "train"]
    assert "secret" not in failed.out + failed.error


def test_a_webhook_that_is_down_changes_nothing_but_a_warning(command: Command, server: KfpServer) -> None:
    server.scripts = {"": BADLY}
    failed = run(command, "--webhook", "http://127.0.0.1:9/secret")
    assert (failed.code, "is FAILED in train" in failed.why) == (1, True)
    assert "warning: the webhook was not told: it cannot be reached: ConnectionRefusedError" in failed.error
    assert "secret" not in failed.error


def test_a_run_on_this_machine_says_what_it_needs(command: Command, tmp_path: Path) -> None:
    assert command("run", "align", host=False).why == "error: a run on this machine needs --recipe"
    assert "no run has been there" in command("resume", "--run-dir", str(tmp_path), host=False).why
