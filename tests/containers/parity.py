"""A run in containers beside the same run in processes: files by digest, numbers by distance."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from copg.artifacts import MANIFEST, Manifest
from copg.run.summary import read_records
from copg.run.task_record import RUN, TaskRecord, read_json

TOLERANCE = 1e-6
"""Relative, of metrics and estimates; files that differ at all are told apart by their digests."""
OUTPUT = "executor_output.json"
CLOCKED = re.compile(r"(/|_|^)(per_s|seconds|s)$")
"""Metrics that a clock takes part in."""


@dataclass(frozen=True)
class Row:
    """One artifact, or the numbers of one task, in both runs."""

    task: str
    what: str
    outside: str
    inside: str
    agrees: bool

    def __str__(self) -> str:
        verdict = "equal" if self.agrees else "DIFFERS"
        return f"{self.task:<26}{self.what:<26}{self.outside:<18}{self.inside:<18}{verdict}"


TITLE = f"{'task':<26}{'what':<26}{'in processes':<18}{'in containers':<18}"


def compare_runs(outside: Path, inside: Path) -> list[Row]:
    """Every artifact and every number of two runs of one recipe.

    Args:
        outside: directory of the run in processes.
        inside: directory of the run in containers.
    """
    theirs, ours = (read_records(root, read_json(root / RUN)) for root in (outside, inside))
    assert theirs, f"{outside}: no task ran"
    rows = []
    for task in sorted(theirs.keys() | ours.keys()):
        if task not in theirs or task not in ours:
            rows.append(Row(task, "ran", str(task in theirs), str(task in ours), False))
        else:
            rows += compare_tasks(theirs[task], ours[task])
    return rows


def compare_tasks(outside: TaskRecord, inside: TaskRecord) -> list[Row]:
    """What one task left in both runs."""
    rows = [Row(outside.task, "state", outside.state, inside.state, outside.state == inside.state)]
    numbers = [{**_numbers(record.metrics), **_numbers(record.facts)} for record in (outside, inside)]
    for name in sorted(outside.outputs.keys() | inside.outputs.keys()):
        found = [_manifest(record.outputs.get(name, "")) for record in (outside, inside)]
        if any(manifest and manifest.files for manifest in found):
            digests = [manifest.digest[:12] if manifest else "missing" for manifest in found]
            rows.append(Row(outside.task, name, *digests, digests[0] == digests[1]))
        for told, manifest in zip(numbers, found, strict=True):
            told |= _numbers(manifest.facts if manifest else {}, f"{name}.")
    if any(numbers):
        distance, where = widest(*numbers)
        rows.append(
            Row(outside.task, f"{len(numbers[0])} numbers", where, f"{distance:.1e}", distance <= TOLERANCE)
        )
    return rows


def widest(outside: Mapping[str, float], inside: Mapping[str, float]) -> tuple[float, str]:
    """The largest relative difference of two sets of numbers, and whose it is; infinite when one lacks it."""
    found = (0.0, "")
    for name in outside.keys() | inside.keys():
        if name not in outside or name not in inside:
            return math.inf, name
        a, b = outside[name], inside[name]
        if a == b or (math.isnan(a) and math.isnan(b)):
            continue
        distance = abs(a - b) / max(abs(a), abs(b), 1e-3)
        found = max(found, (math.inf if math.isnan(distance) else distance, name))
    return found


def unfinished(root: Path) -> list[str]:
    """Tasks of the latest run that left no ``executor_output.json``, by stage: whatever the runner says."""
    tasks = read_json(root / RUN).get("tasks", [])
    expected = Counter([task["stage"] for task in tasks] + ["resolve", "summary"])
    newest = max((root / "artifacts").iterdir(), key=lambda path: path.name, default=None)
    if newest is not None:
        expected -= Counter(re.sub(r"-\d+$", "", path.parent.name) for path in newest.rglob(OUTPUT))
    return sorted(expected.elements())


def _manifest(address: str) -> Manifest | None:
    """Of an artifact; None for what has none, such as a page."""
    manifest = read_json(Path(address) / MANIFEST) if address else {}
    return Manifest(**manifest) if manifest else None


def _numbers(values: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """Every number of nested dictionaries, those of clocks apart."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not CLOCKED.search(name):
            found[prefix + name] = float(value)
    return found
