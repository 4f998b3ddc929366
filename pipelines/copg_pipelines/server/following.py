"""Follow a run on a server, tell the terminal and a webhook how it went, and leave with the right code."""

import sys
import time
from typing import Any, TextIO

import typer

from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.runs import ended, say_addresses, task_line, tasks_of, why_not_succeeded

TIMED_OUT = 124
"""Exit code of a wait that ended before the run; the one of ``timeout``."""


class StillRunning(ClientError):
    """A run went on for longer than one wanted to wait."""


def follow(
    client: Client, run_id: str, out: TextIO, *, timeout_s: float | None = None, every_s: float = 5.0
) -> Any:
    """Write a line to ``out`` for each change of a task until the run ends.

    Returns:
        The run: succeeded, failed, cancelled or skipped.

    Raises:
        StillRunning: it did not end within ``timeout_s``.
    """
    seen: dict[str, str] = {}
    give_up = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        run = client.runs.run_service_get_run(run_id)
        for task in tasks_of(run):
            state = str(task.state or "PENDING")
            if seen.get(task.task_id) != state:
                seen[task.task_id] = state
                out.write(task_line(task) + "\n")
                out.flush()
        if ended(run):
            return run
        if give_up is not None and time.monotonic() + every_s > give_up:
            raise StillRunning(
                f"run {run_id} is still {run.state or 'PENDING'} after {timeout_s:g} s and goes on"
            )
        time.sleep(every_s)


def wait_for(client: Client, run_id: str, dag: str, timeout_min: float, poll_s: float, webhook: str) -> None:
    """Follow a run to its end.

    Args:
        client: of the server.
        run_id: the run.
        dag: its name, for the command that follows it; with the id of a run any will do.
        timeout_min: how long to wait; 0: for ever.
        poll_s: seconds between two looks.
        webhook: address to tell when the run did not succeed; empty: none.

    Raises:
        typer.Exit: with 1 for a run that did not succeed, with 124 when the time was up.
        ClientError: the server could not be asked any more; the run goes on.
    """
    how = f"copg status {dag} {run_id} --follow --host {client.connection.host}"
    try:
        run = follow(
            client, run_id, sys.stdout, timeout_s=60 * timeout_min if timeout_min else None, every_s=poll_s
        )
    except StillRunning as error:
        print(f"error: {error}; to follow it: {how}", file=sys.stderr)
        raise typer.Exit(TIMED_OUT) from None
    except KeyboardInterrupt:
        print(f"\nthe run goes on; to follow it: {how}", file=sys.stderr)
        raise typer.Exit(130) from None
    except ClientError as error:
        raise ClientError(f"{error}; the run goes on; to follow it: {how}", error.status) from None
    say_addresses(client, run, print)
    if run.state == "SUCCEEDED":
        return
    why = why_not_succeeded(run)
    if webhook:
        _tell(client, webhook, run, why)
    print(f"error: {why}", file=sys.stderr)
    raise typer.Exit(1)


def _tell(client: Client, webhook: str, run: Any, why: str) -> None:
    from copg.run.webhook import post

    message = {
        "event": str(run.state).lower(),
        "text": f"copg: {why}",
        "name": run.display_name,
        "run": run.run_id,
        "started": run.created_at.isoformat() if run.created_at else None,
        "failure": {"stage": [t.display_name for t in tasks_of(run) if t.state == "FAILED"], "cause": why},
        "page": client.connection.page("runs/details", run.run_id),
    }
    if problem := post(webhook, message):
        print(f"warning: the webhook was not told: {problem}", file=sys.stderr)
