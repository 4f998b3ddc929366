"""The command, the server and webhook it talks to, and a faster compiler, for all tests beside this file."""

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest
from kfp.dsl import pipeline_task

from tests.pipelines.command import command, server
from tests.serving import serving

__all__ = ["command", "server"]


def caller() -> list[tuple[object, ...]]:
    """Of ``inspect.stack()`` what kfp reads: the name of the function above the one that asks."""
    return [(), (None, None, None, sys._getframe(2).f_code.co_name)]


@pytest.fixture(scope="session", autouse=True)
def quick_compiler() -> Iterator[None]:
    """At each of 50 settings kfp reads the source of the whole stack: below pytest, 0.1 s each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=caller))
        yield


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook, and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as url:
        yield f"{url}/secret", told
