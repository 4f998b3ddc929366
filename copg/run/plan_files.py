"""Plans of tasks by their digest: what travels through a DAG names a plan, and its task reads it.

A server writes what a task is given into a dozen places of a workflow, whose size it bounds. The file is
named by what it holds and is read only as that, so a name means the same plan for ever.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import write_json
from copg.digests import json_digest
from copg.errors import ConfigError, DamageError
from copg.run.task_record import read_json

PLANS = "plans"
"""Folder of the plans, under the directory of the runs."""
DIGEST, TOLD = "digest", "told"
DIGEST_LENGTH = 32
SHOWN = 100
"""Characters of what is told of a plan."""


def store_plan(run_dir: Path, plan: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, str]:
    """Write a plan, and name it: ``{"digest": .., "told": ..}``, of which people read the latter.

    Args:
        run_dir: directory of the runs, which every task sees.
        plan: ``{"key": .., "config": ..}``, and what else it has.
        written: settings of the stage as they stand in the recipe, which are told.
    """
    digest = _digest(plan)
    path = run_dir / PLANS / f"{digest}.json"
    if not path.is_file() or _digest_there(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)
    told = " ".join(f"{name}={value}" for name, value in _flat(written))
    return {DIGEST: digest, TOLD: told if len(told) <= SHOWN else f"{told[: SHOWN - 3]}..."}


def read_plan(plan: Mapping[str, Any], run_dir: str) -> dict[str, Any]:
    """``{"key": .., "config": ..}`` of a task: as it was given, or in the file that is named.

    Raises:
        ConfigError: the file is gone, or holds something else.
    """
    if DIGEST not in plan:
        return dict(plan)
    path = Path(run_dir) / PLANS / f"{plan[DIGEST]}.json"
    found = read_json(path)
    if _digest(found) != plan[DIGEST]:
        what = "holds another plan than its name says" if path.is_file() else "is gone"
        raise ConfigError(f"{path}: {what}; resolve writes it: run the pipeline again")
    return found


def _digest_there(path: Path) -> str:
    """Of the plan in a file; empty where it is damaged."""
    try:
        return _digest(read_json(path))
    except DamageError:
        return ""


def _digest(plan: Mapping[str, Any]) -> str:
    return json_digest(plan)[:DIGEST_LENGTH]


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name in sorted(value):
            yield from _flat(value[name], f"{where}.{name}" if where else str(name))
    elif where:
        yield where, int(value) if isinstance(value, float) and value.is_integer() else value
