"""A stage recorded while it runs, or answered for by what an earlier run left."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST, json_value
from copg.data.parents import end_with
from copg.errors import CopgError, DamageError, disk_mistake, without_secrets
from copg.lm.memory import memory_mistake
from copg.progress import noting_warnings, work_of
from copg.run.machine import read_machine
from copg.run.memory_watch import noting_memory
from copg.run.task_names import RENEWAL, task_key, task_name
from copg.run.task_record import (
    RUN,
    ArtifactFile,
    MetricsFile,
    TaskRecord,
    read_json,
    read_record,
    record_path,
    write_record,
)


@contextmanager
def recorded(
    stage: str,
    plan: Mapping[str, Any],
    run_dir: str,
    subject: Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, ArtifactFile] | None = None,
    metrics: MetricsFile | None = None,
) -> Iterator[TaskRecord]:
    """Record a stage while it runs; a user's mistake ends the process with its line and exit code 1.

    A task that an earlier run did, on inputs of the same contents, need not be done again: its record is
    given, which ``answers``, and its artifacts are handed on. Kubeflow's own caches also go by the name of
    the image; this goes by the task's key alone.

    Args:
        stage: its name.
        plan: ``{"key": .., "config": ..}`` from ``resolve``.
        run_dir: where the records of the runs lie.
        subject: the trial or baseline it serves.
        inputs: artifacts it takes, one or a list by name; None: it works every time.
        outputs: artifacts it leaves, by name.
        metrics: artifact that gets the metrics of a task that is not done again.
    """
    home, outputs = Path(run_dir), outputs or {}
    run = _join(home, stage, subject)
    record = TaskRecord(
        stage=stage,
        task=task_name(stage, subject),
        key=task_key(plan["key"], subject),
        subject=None if subject is None else dict(subject),
        run=str(run.get("run", "")),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        inputs={name: _digests(each) for name, each in (inputs or {}).items()},
    )
    if inputs is not None and RENEWAL not in plan:
        known = read_record(record_path(home, record.task, record.key))
        if known is not None and known.inputs == record.inputs and known.hand_on(outputs, metrics):
            yield known
            return
    with _at_work(home, record, plan.get("config", {})):
        yield record
        record.outputs.update({name: artifact.uri for name, artifact in outputs.items()})


def _join(home: Path, stage: str, subject: Mapping[str, Any] | None) -> dict[str, Any]:
    """The present run; this process takes its share of the cores, and ends when who drives the run does."""
    try:
        run = read_json(home / RUN)
        machine = read_machine(home)
        _limit_threads(machine, run, stage, subject)
    except DamageError as error:
        print(f"error: {task_name(stage, subject)}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    end_with(machine.get("driver", {}))
    return run


@contextmanager
def _at_work(home: Path, record: TaskRecord, settings: Mapping[str, Any]) -> Iterator[None]:
    """Keep the record of a task that works, from its beginning to whatever end it comes to."""
    write_record(home, record)
    started = time.monotonic()

    def note(memory: dict[str, Any]) -> None:
        write_record(home, replace(record, memory=memory))

    try:
        with noting_memory(record.stage, settings, note), work_of(record.task), noting_warnings() as warned:
            try:
                yield
            finally:
                record.warnings += [f"{record.task}: {line}" for line in warned]
        record.state = "succeeded"
    except BaseException as error:
        mistake = error if isinstance(error, CopgError) else None
        mistake = mistake or memory_mistake(error, {record.stage: settings}) or disk_mistake(error)
        record.state = "failed"
        said = without_secrets(f"{type(error).__name__}: {error}")  # a library's, of any address
        record.message = str(mistake or said.partition("\n")[0])
        if mistake is None:
            raise
        print(f"error: {record.task}: {mistake}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    finally:
        record.seconds = round(time.monotonic() - started, 3)
        record.run = _run_id(home)  # ``resolve`` gave it just now
        write_record(home, record)


def _run_id(home: Path) -> str:
    """Of the present run; empty where nobody can say."""
    try:
        return str(read_json(home / RUN).get("run", ""))
    except DamageError:
        return ""


def _digests(artifacts: Any) -> list[str]:
    """What artifacts hold, in any order."""
    each = artifacts if isinstance(artifacts, list) else [artifacts]
    return sorted(_manifest_digest(Path(one.path) / MANIFEST) for one in each)


def _manifest_digest(path: Path) -> str:
    """Of an artifact; empty without a manifest that can be read, as its stage will tell."""
    try:
        return str(json_value(path.read_bytes()).get("digest", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _limit_threads(
    machine: Mapping[str, Any], run: Mapping[str, Any], stage: str, subject: Mapping[str, Any] | None
) -> None:
    """Share the cores among the tasks of one loop that run at once; before any numerical library loads."""
    if not machine:
        return
    others = [t for t in run.get("tasks", []) if t["stage"] == stage and t["subject"] is not None]
    same_loop = [t for t in others if subject is not None and t["loop"] == _loop(others, stage, subject)]
    at_once = max(1, min(int(machine["tasks_at_once"]), len(same_loop)))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(max(1, int(machine["cores"]) // at_once))


def _loop(tasks: list[dict[str, Any]], stage: str, subject: Mapping[str, Any]) -> str | None:
    name = task_name(stage, subject)
    return next((task["loop"] for task in tasks if task["task"] == name), None)
