"""Wait for a run on a server, tell the terminal and a webhook how it went, and leave with the right code."""

import sys
from typing import Any

import typer

from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.runs import StillRunning, follow, say_addresses, tasks_of, why_not_succeeded

TIMED_OUT = 124
"""Exit code of a wait that ended before the run; the one of ``timeout``."""


def wait_for(
    client: Client, run_id: str, *, timeout_min: float = 0.0, poll_s: float = 5.0, webhook: str = ""
) -> None:
    """Follow a run to its end.

    Args:
        client: of the server.
        run_id: the run.
        timeout_min: how long to wait; 0: for ever.
        poll_s: seconds between two looks.
        webhook: address to tell when the run did not succeed; empty: none.

    Raises:
        typer.Exit: with 1 for a run that did not succeed, with 124 when the time was up.
        ClientError: the server could not be asked any more; the run goes on.
    """
    how = f"copg status align {run_id} --follow --host {client.connection.host}"
    try:
        run = follow(
            client, run_id, sys.stdout, timeout_s=60 * timeout_min if timeout_min else None, every_s=poll_s
        )
    except StillRunning as error:
        print(f"error: {error}", file=sys.stderr)
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
