"""A webhook is told of what failed or was not promoted, and nothing it does changes the run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from copg_components.summary import summary

from copg.run.task_record import RUN, write_record
from copg.run.webhook import message_of, notify, post
from tests.run.test_summary import RUN_FILE, records
from tests.serving import serving

FAILED = {
    "name": "demo",
    "run": "r1",
    "failure": {"stage": "train", "trial": "copg_0.1", "cause": "disk full"},
    "promoted": None,
}
UNPROMOTED = {
    "name": "demo",
    "run": "r1",
    "failure": None,
    "promoted": False,
    "reasons": ["copg_0.1: gains 0.01, of 0.05 that are needed"],
}
PROMOTED = {**UNPROMOTED, "promoted": True, "reasons": []}


class Hook:
    """A real HTTP server that answers as it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.url = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            hook.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.answers.pop(0) if hook.answers else 204)
            self.end_headers()

    with serving(Handler) as url:
        hook.url = f"{url}/T0/s3cret"
        yield hook


def test_a_failed_run_is_told_with_stage_trial_and_cause(hook: Hook) -> None:
    assert notify(hook.url, FAILED) == "told the webhook of the failed run"
    (message,) = hook.told
    assert message["event"] == "failed"
    assert message["text"] == "copg demo: run r1 failed: stage train, trial copg_0.1: disk full"


def test_an_unpromoted_run_is_told_with_its_reasons(hook: Hook) -> None:
    assert notify(hook.url, UNPROMOTED) == "told the webhook of the unpromoted run"
    assert (
        hook.told[0]["text"]
        == "copg demo: run r1 promoted nothing: copg_0.1: gains 0.01, of 0.05 that are needed"
    )


def test_a_promoted_run_is_no_news(hook: Hook) -> None:
    assert (notify(hook.url, PROMOTED), message_of(PROMOTED), hook.told) == ("", None, [])
    assert notify("", FAILED) == ""


def test_a_webhook_that_stumbles_is_told_again(hook: Hook) -> None:
    hook.answers = [503, 429, 200]
    assert post(hook.url, {"event": "failed"}, pause_s=0.01) == ""
    assert len(hook.told) == 3


@pytest.mark.parametrize(("answer", "times"), [(500, 3), (404, 1)])
def test_a_webhook_that_refuses_is_a_warning_without_its_address(hook: Hook, answer: int, times: int) -> None:
    hook.answers = [answer] * 3
    said = notify(hook.url, FAILED, pause_s=0.01)
    assert said == f"warning: the webhook was not told of the failed run: it answered {answer}"
    assert len(hook.told) == times


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/s3cret", "it cannot be reached: ConnectionRefusedError"),
        ("file:///etc/passwd", "its address must start with http:// or https://, not file:"),
        ("s3cret", "its address is no URL"),
        ("http://s3cret host/", "it cannot be reached: "),
    ],
)
def test_an_address_that_cannot_be_told_never_raises_nor_shows(url: str, why: str) -> None:
    said = notify(url, FAILED, pause_s=0.01)
    assert why in said
    assert "s3cret" not in said


@pytest.mark.parametrize("up", [True, False])
def test_the_exit_handler_tells_it_and_ends_well_either_way(hook: Hook, up: bool, tmp_path: Path) -> None:
    url = hook.url if up else "http://127.0.0.1:9/s3cret"
    program = (
        "from types import SimpleNamespace\n"
        "from copg_components.summary import summary\n"
        "status = SimpleNamespace(state='FAILED', pipeline_job_resource_name='x')\n"
        f"summary.python_func(run_dir={str(tmp_path)!r}, status=status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "COPG_WEBHOOK_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["state"] == "failed"
    assert len(hook.told) == up
    assert ("told the webhook of the failed run" in done.stdout) is up
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("state", "found"),
    [
        *((state, "succeeded") for state in ("COMPLETE", "RUNNING", "CACHED", "SUCCEEDED")),
        *((state, "failed") for state in ("FAILED", "CANCELED", "CANCELLED")),
    ],
)
def test_every_word_of_a_server_for_a_good_end_is_one(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, found: str
) -> None:
    monkeypatch.setenv("COPG_WEBHOOK_URL", hook.url)
    (tmp_path / RUN).write_text(json.dumps(RUN_FILE))
    for record in records().values():  # all succeeded, and one trial was promoted
        write_record(tmp_path, record)
    summary.python_func(
        run_dir=str(tmp_path), status=SimpleNamespace(state=state, pipeline_job_resource_name="x")
    )
    said = json.loads((tmp_path / "summary.json").read_text())
    assert said["state"] == found, said["failure"]
    assert [told["event"] for told in hook.told] == ([] if found == "succeeded" else ["failed"])
