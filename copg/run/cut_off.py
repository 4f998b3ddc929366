"""The run before, where it left no summary: its own last task was stopped with it, so the next run tells."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.errors import DamageError
from copg.run.summary import PAGE, SUMMARY, read_records
from copg.run.task_record import RUN, read_json
from copg.stores.sealed import write_sealed


def unfinished(run_dir: Path) -> dict[str, Any] | None:
    """The latest run so far, where it left no summary: it was cancelled, or its last task could not start.

    Args:
        run_dir: directory of the runs.

    Returns:
        Its id, when it began, and the tasks that were stopped while they ran; None where it ended by itself.
        After one stage alone, and after a ``resolve`` that was lost with its pod and is tried again, what
        these had found.
    """
    try:
        before, told = read_json(run_dir / RUN), read_json(run_dir / SUMMARY)
    except DamageError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)
        return None
    if told.get("run") == before.get("run"):
        return None
    if before.get("alone") or not before.get("tasks"):  # one stage; or ``resolve``, which is tried again
        found: dict[str, Any] | None = before.get("before")
        return found
    records = {**read_records(run_dir, before), "resolve": None}  # whose record is of the run to come
    mine = [each for each in records.values() if each is not None and each.run == before["run"]]
    stopped = [each.task for each in mine if each.state == "running"]
    return {"run": before["run"], "started": before.get("started"), "stopped": sorted(stopped)}


def make_way(run_dir: Path) -> None:
    """Take away what the latest run left for readers, so that it is not taken for the next one's.

    Where it was cut off, what is known of it stays for the next ``resolve`` to find.

    Args:
        run_dir: directory of the runs.
    """
    before = unfinished(run_dir)
    for name in (RUN, SUMMARY, PAGE):
        (run_dir / name).unlink(missing_ok=True)
    if before:
        write_sealed(run_dir / RUN, {"run": "", "before": before})


def told_of_before(summary: Mapping[str, Any]) -> str:
    """In a line, that the run before was cut off and in what; empty where it ended by itself.

    Args:
        summary: contents of ``summary.json``.
    """
    before = summary.get("before")
    if not before:
        return ""
    while_ran = f" while {', '.join(before['stopped'])} ran" if before.get("stopped") else ""
    return f"the run before, {before['run']}, was cancelled or lost{while_ran}: it left no summary"
