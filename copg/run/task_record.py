"""What ran, for how long and how it ended: one small JSON file a task, under the directory of the runs.

The directory's path is the same for every run of a recipe, so that it may be a parameter of cached tasks. A
task's file is named after the task and the digest of all it depends on: a task that a cache answered has its
file from the run that did the work.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from copg.artifacts import write_json
from copg.errors import ArtifactError, DamageError
from copg.stores.addresses import copy_artifact, is_finished
from copg.stores.sealed import read_sealed, write_sealed

RUN = "run.json"
"""The present run: written by ``resolve``, read by every task after it."""
RECORDS = "stages"
"""Folder of the records."""
TOLD = "told"
"""Among the facts of a record: lines for who waits at a terminal."""
LOST = "it counts as absent: the task works again"


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


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of ours holds; nothing where there is none.

    Raises:
        DamageError: it is not what was written.
    """
    return read_sealed(path, remedy="remove it and run again")


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
