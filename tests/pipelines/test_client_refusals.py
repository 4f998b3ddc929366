"""What every command does when the server refuses, breaks or stays silent."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.server import connection as connection_module
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError, Connection
from copg_pipelines.server.versions import Dag, ensure_version

from tests.left_behind import LEFT
from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer
from tests.serving import serving

QUICK = ("--poll", "0.01")


@pytest.fixture
def commands(command: Command, server: KfpServer, tmp_path: Path) -> dict[str, tuple[str, ...]]:
    """Every command that talks to a server, but for cancel and doctor, as it succeeds on this one."""
    client, dags = Client(Connection(host=server.url)), []
    for number in (1, 2):
        (tmp_path / f"{number}.yaml").write_text(
            (LEFT / "demo_dag.yaml").read_text().replace("/runs/demo", f"/runs/{number}")
        )
        dags.append(Dag(tmp_path / f"{number}.yaml", "demo", "abc123"))
        ensure_version(client, "align", dags[-1])
    older, version = (dag.version for dag in dags)
    server.scripts = {"": [("FAILED", {"train": "FAILED"})]}
    command("run", "align", "--on", "cluster", "--version", version, *QUICK)
    (run,) = server.runs
    command("schedule", "align", "--cron", "@daily", "--version", version)
    recipe = ("--recipe", str(command.recipe), "--image", "copg@sha256:0", "--revision", "abc")
    return {
        "create": ("create", "align", *recipe),
        "run": ("run", "align", "--on", "cluster", "--version", version, "--no-wait"),
        "versions": ("versions", "align"),
        "schedule": ("schedule", "align", "--cron", "@weekly", "--version", version),
        "rollback": ("rollback", "align", "--to", older),
        "status": ("status", "align"),
        "logs": ("logs", run),
        "resume": ("resume", run, "--no-wait"),
        "unschedule": ("unschedule", "align", "--all"),
        "explain-cache": ("explain-cache", "align", "--on", "cluster", *recipe[:-2]),
    }


def good(outcome: Any, name: str) -> bool:
    """Whether a command did what it is for; status tells of a failed run with its exit code."""
    return outcome.code == (1 if name == "status" else 0) and "Traceback" not in outcome.error


def test_every_command_says_how_to_be_let_in(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    held = json.dumps([list(server.versions), list(server.schedules), list(server.runs)])
    server.token = "right"
    for words in commands.values():
        refused = command(*words)
        assert refused.code == 1
        assert "does not know who you are (401): give a token with --token-file" in refused.why
    command.patch.setenv("KF_PIPELINES_TOKEN", "wr0ng")
    for words in commands.values():
        refused = command(*words)
        assert "(401): give a fresh token with --token-file" in refused.why
        assert "wr0ng" not in refused.out + refused.error
    assert json.dumps([list(server.versions), list(server.schedules), list(server.runs)]) == held


def test_every_command_says_whom_to_ask_for_a_role(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    server.forbidden = True
    for words in commands.values():
        refused = command(*words, "--namespace", "team-a")
        assert refused.code == 1
        assert (
            "forbids this (403): ask its owner for the role kubeflow-edit in namespace 'team-a'"
            in refused.why
        )


def test_every_command_survives_a_server_that_stumbles(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    for name, words in commands.items():
        server.broken = [("GET", 503, False), ("GET", 500, False)]
        outcome = command(*words)
        assert good(outcome, name), (name, outcome)
        assert server.broken == []


def test_every_command_gives_up_on_a_server_that_stays_broken(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    for name, words in commands.items():
        server.broken = [("", 500, False)] * 500
        asked = len(server.asked)
        outcome = command(*words)
        assert outcome.code == 1, name
        assert "answered 500: upstream connect error or disconnect; gave up after 1 s" in outcome.why
        assert len(server.asked) - asked > 2
        server.broken = []


def test_every_command_gives_up_on_a_server_that_stays_silent(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    for name, words in commands.items():
        server.broken = [("", 0, False)] * 500
        outcome = command(*words, "--request-timeout", "0.2", "--patience", "0.3")
        assert outcome.code == 1, name
        assert "no answer within 0.2 s; gave up after 0.3 s" in outcome.why, name
        server.broken = []


def test_a_server_that_is_not_there_is_told_with_the_way_to_it(command: Command) -> None:
    gone = command("versions", "align", "--host", "http://127.0.0.1:9", "--patience", "0.1", host=False)
    assert "http://127.0.0.1:9: cannot be reached; is it up? to forward its port: kubectl" in gone.why
    assert "port-forward svc/ml-pipeline-ui 8888:80;" in gone.why  # the API alone shows no pages
    assert "error: host is missing" in command("versions", "align", host=False).why
    wrong = command("versions", "align", "--host", "localhost:8888", host=False)
    assert wrong.why == "error: host='localhost:8888' must start with http:// or https://"


def test_too_many_requests_are_waited_for_even_where_a_request_must_not_be_doubled(
    command: Command, server: KfpServer, commands: dict[str, tuple[str, ...]]
) -> None:
    server.broken = [("POST /apis/v2beta1/runs", 429, False)] * 2
    runs = len(server.runs)
    assert command(*commands["run"]).code == 0
    assert len(server.runs) == runs + 1


def test_what_is_wrong_with_a_request_is_not_repeated(
    command: Command, server: KfpServer, commands: object
) -> None:
    server.broken = [("GET", 400, False)]
    asked = len(server.asked)
    assert "answered 400" in command("versions", "align").why
    assert len(server.asked) == asked + 1


def test_the_token_is_read_again_for_every_request(
    command: Command, server: KfpServer, commands: object, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    client = Client(Connection(host=server.url, token_file=token))
    server.token = "first"
    client.health.healthz_service_get_healthz()
    token.write_text("second\n")
    server.token = "second"
    client.health.healthz_service_get_healthz()
    assert [h["Authorization"] for h in server.headers[-2:]] == ["Bearer first", "Bearer second"]
    assert command("versions", "align", "--token-file", str(token)).code == 0
    missing = command("versions", "align", "--token-file", str(tmp_path / "gone"))
    assert "no such file" in missing.why


def test_a_pod_s_own_token_and_namespace_are_used(
    server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("pod")
    (tmp_path / "namespace").write_text("team-a\n")
    monkeypatch.setattr(connection_module, "POD_TOKEN", tmp_path / "token")
    monkeypatch.setattr("copg_pipelines.server.client.POD_NAMESPACE", tmp_path / "namespace")
    server.token, server.multi_user = "pod", True
    assert Client(Connection(host=server.url)).namespace == "team-a"


def test_secrets_stay_out_of_what_a_connection_prints(server: KfpServer) -> None:
    shown = repr(Connection(host=server.url, token="t0ken", cookie="c00kie"))
    assert "t0ken" not in shown
    assert "c00kie" not in shown


def test_a_cookie_goes_along(server: KfpServer) -> None:
    client = Client(Connection(host=server.url, cookie="authservice_session=x"))
    client.health.healthz_service_get_healthz()
    assert server.headers[-1]["Cookie"] == "authservice_session=x"


@pytest.fixture
def login() -> Iterator[str]:
    """A server behind a login page: it sends everybody there."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.startswith("/page"):
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"<html>")
                return
            self.send_response(302)
            self.send_header("Location", "https://login.example/dex?state=abc")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as url:
        yield url


def test_a_login_page_is_recognised_behind_a_redirect_or_instead_of_an_answer(login: str) -> None:
    for host, where in ((login, "https://login.example/dex"), (f"{login}/page", "a page, not the API")):
        client = Client(Connection(host=host, patience_s=0.1))
        with pytest.raises(ClientError) as caught:
            client.health.healthz_service_get_healthz()
        assert f"answers with {where}: log in there and set KF_PIPELINES_COOKIE" in str(caught.value)


def test_a_pause_that_the_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    answers = iter([429, 200])

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(next(answers))
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with serving(Handler) as url:
        Client(Connection(host=url, patience_s=60)).health.healthz_service_get_healthz()
    assert slept == [7.0]
