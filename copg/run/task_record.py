"""What ran, for how long and how it ended: one small JSON file a task, under the directory of the runs.

The directory's path is the same for every run of a recipe, so that it may be a parameter of cached tasks. A
task's file is named after the task and the digest of all it depends on: a task that a cache answered has its
file from the run that did the work.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from copg.artifacts import MANIFEST, json_value, write_json
from copg.data.parents import end_with
from copg.digests import json_digest
from copg.errors import ArtifactError, CopgError, DamageError, disk_mistake
from copg.lm.memory import memory_mistake
from copg.progress import work_of
from copg.run.machine import read_machine
from copg.run.memory_watch import noting_memory
from copg.stores.addresses import copy_artifact, is_finished
from copg.stores.sealed import read_sealed, write_sealed

RUN = "run.json"
"""The present run: written by ``resolve``, read by every task after it."""
RECORDS = "stages"
"""Folder of the records."""
RENEWAL = "renewal"
"""Of a plan or a trial that is to be worked though a record, or a cache, could answer for it."""
LOST = "it counts as absent: the task works again"
ADDED = (RENEWAL, "code")
"""What ``resolve`` adds to a trial."""


class MetricsFile(Protocol):
    """What of a ``Metrics`` artifact is used here."""

    path: str

    def log_metric(self, metric: str, value: float) -> None:
        """Keep one number."""


class ArtifactFile(Protocol):
    """What of an artifact of a pipeline is used here."""

    uri: str


@dataclass
class TaskRecord:
    """One task of a run."""

    stage: str
    task: str
    """``stage``, or ``stage-subject`` where a stage runs once a trial."""
    key: str
    """Digest of everything the task's outputs depend on."""
    subject: dict[str, Any] | None = None
    """The trial, ``{"name": "reference"}`` or the champion; None for a stage that runs once."""
    run: str = ""
    """Id of the run that did the work."""
    state: str = "running"
    """``running``, ``succeeded`` or ``failed``; ``running`` after the end means that it was killed."""
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    message: str = ""
    """Why it failed, in one line."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Address of each artifact it left."""
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What a summary needs and would otherwise have to fetch."""
    inputs: dict[str, list[str]] = field(default_factory=dict)
    """Digests of the artifacts it took, by their names."""
    memory: dict[str, Any] = field(default_factory=dict)
    """Peak and limit in bytes, and what to lower, for a task that is killed."""
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each artifact that it left is, for people."""
    warnings: list[str] = field(default_factory=list)
    """What it left out, cut or found doubtful, after what the tasks before it did: a line each."""

    def measured(self, metrics: Mapping[str, float], artifact: MetricsFile) -> None:
        """Note a stage's metrics, and hand the finite ones to the pipeline's ``Metrics`` artifact.

        The artifact also gets a file: a local cache takes one without for missing.
        """
        self.metrics.update(metrics)
        for name, value in metrics.items():
            if isinstance(value, int | float) and value == value and abs(value) != float("inf"):
                artifact.log_metric(name, float(value))
        write_json(Path(artifact.path), {name: repr(value) for name, value in metrics.items()})

    @property
    def answers(self) -> bool:
        """Whether the task ended well and all that it left is still there: it need not work again."""
        return self.state == "succeeded" and all(map(is_finished, self.outputs.values()))

    def hand_on(self, outputs: Mapping[str, ArtifactFile], metrics: MetricsFile | None) -> bool:
        """Give what this task left to a new one; False when it does not answer.

        A path is handed on as it is. In an object store the new task gets a copy, which the store makes
        itself: there an artifact belongs under the root of its own run, and KFP refuses any other address.
        """
        if set(outputs) != set(self.outputs) or not self.answers:
            return False
        if any(_store(artifact.uri) != _store(self.outputs[name]) for name, artifact in outputs.items()):
            return False  # a pipeline's root elsewhere, which cannot hold what lies here
        for name, artifact in outputs.items():
            if "://" not in artifact.uri:
                artifact.uri = self.outputs[name]
            elif not _copied(self.outputs[name], artifact.uri):
                return False
        if metrics is not None:
            self.measured(self.metrics, metrics)
        return True


def subject_name(subject: Mapping[str, Any]) -> str:
    """Of a trial or baseline: its ``name``, else method and beta, ``copg_0.05``."""
    if subject.get("name"):
        return str(subject["name"])
    beta = f"_{float(subject['beta']):g}" if subject.get("beta") is not None else ""
    return f"{trial_method(subject)}{beta}"


def trial_method(trial: Mapping[str, Any]) -> str:
    """The method of a trial, written or not."""
    return str(trial.get("method", "copg"))


def as_written(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial without what ``resolve`` added to it."""
    return {name: value for name, value in trial.items() if name not in ADDED}


def task_name(stage: str, subject: Mapping[str, Any] | None) -> str:
    """``validate``, ``train-copg_0.05``, ``evaluate-reference``."""
    return stage if subject is None else f"{stage}-{subject_name(subject)}"


def task_key(key: str, subject: Mapping[str, Any] | None) -> str:
    """Digest of a task: of what its stage depends on, and of the trial it serves."""
    return key if subject is None else json_digest({"key": key, "subject": dict(subject)})


def record_path(run_dir: Path, task: str, key: str) -> Path:
    """Where the record of a task lies."""
    return run_dir / RECORDS / f"{task}-{key[:12]}.json"


def read_record(path: Path) -> TaskRecord | None:
    """The record in a file; None where there is none, or one that is damaged, which is named."""
    try:
        found = read_sealed(path, remedy=LOST)
        return TaskRecord(**found) if found else None
    except DamageError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)
    except TypeError:  # a key that is none of its fields
        print(f"warning: {path}: is no record of a task; {LOST}", file=sys.stderr, flush=True)
    return None


def write_record(run_dir: Path, record: TaskRecord) -> None:
    """Write or replace a task's record, at once."""
    write_sealed(record_path(run_dir, record.task, record.key), _finite(asdict(record)))


def _finite(value: Any) -> Any:
    """The same value with NaN and infinities as text: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return repr(value)
    return value


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
    try:
        run = read_json(home / RUN)
        machine = read_machine(home)
        _limit_threads(machine, run, stage, subject)
    except DamageError as error:
        print(f"error: {task_name(stage, subject)}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    end_with(machine.get("driver", {}))
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
    write_record(home, record)
    started, settings = time.monotonic(), plan.get("config", {})

    def note(memory: dict[str, Any]) -> None:
        write_record(home, replace(record, memory=memory))

    try:
        with noting_memory(stage, settings, note), work_of(record.task):
            yield record
        record.state = "succeeded"
        record.outputs.update({name: artifact.uri for name, artifact in outputs.items()})
    except BaseException as error:
        mistake = error if isinstance(error, CopgError) else None
        mistake = mistake or memory_mistake(error, {stage: settings}) or disk_mistake(error)
        record.state = "failed"
        record.message = str(mistake or f"{type(error).__name__}: {error}".partition("\n")[0])
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


def _copied(source: str, target: str) -> bool:
    try:
        copy_artifact(source, target)
    except ArtifactError as error:
        print(f"{error}; the task works again", file=sys.stderr, flush=True)
        return False
    return True


def _store(address: str) -> list[str]:
    """Scheme and bucket of an address; of a path nothing."""
    return address.split("/")[:3] if "://" in address else []


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


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of ours holds; nothing where there is none.

    Raises:
        DamageError: it is not what was written.
    """
    return read_sealed(path, remedy="remove it and run again")


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
