"""Follow a run on a server, tell the terminal and a webhook how it went, and leave with the right code."""

import sys
import time
from typing import TextIO

import typer

from copg_pipelines.server.at_hand import AtHand
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.outline import outline_of
from copg_pipelines.server.runs import LOST, ended
from copg_pipelines.server.showing import UNSEEN, Shown, look, say_rest

TIMED_OUT = 124
"""Exit code of a wait that ended before the run; the one of ``timeout``."""
DOUBT_S = 120.0


class StillRunning(ClientError):
    """A run went on for longer than one wanted to wait."""


def follow(
    client: Client,
    run_id: str,
    out: TextIO,
    at_hand: AtHand,
    *,
    timeout_s: float | None = None,
    every_s: float = 5.0,
    doubt_s: float = DOUBT_S,
) -> Shown:
    """Write a line to ``out`` for each change of a task until the run ends, and for each pod that waits.

    Args:
        client: of the server.
        run_id: the run.
        out: a terminal, file or pipe.
        at_hand: the cluster, where there is one.
        timeout_s: how long to follow it; None: for ever.
        every_s: between two looks at the server.
        doubt_s: without a change, after which the pods are looked at; and between two such looks. The first
            is as soon as the workflow is known, so that a cluster which had it can tell that it is gone.

    Returns:
        The run: succeeded, failed, cancelled, skipped or lost.

    Raises:
        StillRunning: it did not end within ``timeout_s``.
    """
    seen: dict[str, tuple[str, int]] = {}
    began = changed = time.monotonic()
    told: dict[str, str] = {}
    outline, missing, noted, looked, unseen = None, False, False, False, False
    while True:
        run = client.runs.run_service_get_run(run_id)
        outline = outline or outline_of(client, run)
        shown = Shown(client, run, at_hand, outline)
        for task in shown.told.tasks:
            stands = (task.state, task.attempts)
            if seen.get(task.node) != stands:
                seen[task.node], changed, missing = stands, time.monotonic(), False
                print(shown.line(task), file=out, flush=True)
                for line in shown.for_people(task):
                    print(line, file=out, flush=True)
        if ended(run):
            return shown
        if shown.note() and not noted:
            noted = True
            print(shown.note(), file=out, flush=True)
        if time.monotonic() - changed >= doubt_s or (shown.told.workflow and not looked):
            looked = True
            closer = look(client, run, at_hand, outline)
            if closer.outcome == LOST and missing:  # twice: its pod may be tried again elsewhere
                return closer
            missing, changed = closer.outcome == LOST, time.monotonic()
            for task in closer.begun():
                why = closer.waits_for(task)
                if why and told.get(task.node) != why:
                    told[task.node] = why
                    print(closer.line(task), file=out, flush=True)
            if closer.unseen and not unseen:
                unseen = True
                print(UNSEEN, file=out, flush=True)
        if timeout_s is not None and time.monotonic() + every_s > began + timeout_s:
            raise StillRunning(f"run {run_id} is still {shown.outcome} after {timeout_s:g} s and goes on")
        time.sleep(every_s)


def wait_for(
    client: Client,
    run_id: str,
    dag: str,
    timeout_min: float,
    poll_s: float,
    webhook: str,
    at_hand: AtHand,
) -> None:
    """Follow a run to its end.

    Args:
        client: of the server.
        run_id: the run.
        dag: its name, for the command that follows it; with the id of a run any will do.
        timeout_min: how long to wait; 0: for ever.
        poll_s: seconds between two looks.
        webhook: address to tell when the run did not succeed; empty: none.
        at_hand: the cluster, where there is one.

    Raises:
        typer.Exit: with 1 for a run that did not succeed, with 124 when the time was up.
        ClientError: the server could not be asked any more; the run goes on.
    """
    whose = f" --namespace {client.connection.namespace}" if client.connection.namespace else ""
    how = f"copg status {dag} {run_id} --follow --host {client.connection.host}{whose}"
    limit = 60 * timeout_min if timeout_min else None
    try:
        shown = follow(client, run_id, sys.stdout, at_hand, timeout_s=limit, every_s=poll_s)
    except StillRunning as error:
        print(f"error: {error}; to follow it: {how}", file=sys.stderr)
        raise typer.Exit(TIMED_OUT) from None
    except KeyboardInterrupt:
        print(f"\nthe run goes on; to follow it: {how}", file=sys.stderr)
        raise typer.Exit(130) from None
    except ClientError as error:
        raise ClientError(f"{error}; the run goes on; to follow it: {how}", error.status) from None
    say_rest(shown, print)
    if shown.outcome == "SUCCEEDED":
        return
    tell(webhook, shown)
    print(f"error: {shown.why()}", file=sys.stderr)
    raise typer.Exit(1)


def tell(webhook: str, shown: Shown) -> None:
    """Tell a webhook how a run ended; a warning where it could not be told.

    Args:
        webhook: its address; empty: there is none.
        shown: the run.
    """
    if not webhook:
        return
    from copg.run.webhook import post

    if problem := post(webhook, shown.message()):
        print(f"warning: the webhook was not told: {problem}", file=sys.stderr)
