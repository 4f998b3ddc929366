"""Which tasks of the next run a cache would answer for, and what changed for the others since the latest."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from copg.digests import json_digest
from copg.errors import ConfigError
from copg.run.plan import plan_of
from copg.run.recipe import Recipe
from copg.run.task_names import subject_name
from copg.run.task_record import RUN, TaskRecord, read_json, read_record, record_path
from copg.stages.table import ROWS, depends_on
from copg_pipelines.dags import plans_of

HEX = re.compile("[0-9a-f]{64}")
SHOWN = 40
"""Characters of a value."""


@dataclass(frozen=True)
class Forecast:
    """What happens to a task."""

    task: str
    reused: bool
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Basis:
    """What a run depends on."""

    configs: Mapping[str, Any]
    """Settings of each plan; ``baseline`` is ``evaluate`` of reference and champion."""
    digests: Mapping[str, str]
    trials: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    """What a DAG itself gives the tasks of each stage, such as the TrainJob of a training over nodes."""


def explain_local(dag: str, recipe: Recipe, root: Path) -> list[Forecast]:
    """Compare a recipe, and all it names, with the runs under ``root``; begins none.

    Args:
        dag: name of the DAG that the recipe would run.
        recipe: with absolute paths.
        root: directory of the runs.

    Raises:
        ConfigError: no run has been there, or the recipe is wrong.
    """
    from copg_components._object_store import register

    from copg.run.resolve import ResolveConfig, plan_recipe

    register()  # a champion may lie where only tasks look
    root = root.resolve()
    before = read_json(root / RUN)
    if not before:
        raise ConfigError(f"{root}: no run has been there, {RUN} is missing")
    plan = plan_recipe(ResolveConfig(recipe=recipe, run_dir=str(root), plans=plans_of(dag)))
    now = _basis(asdict(plan))
    old = _basis(before) if "plans" in before else None
    return [_local(root, task, old, now) for task in plan.tasks]


def _local(root: Path, task: Mapping[str, Any], old: Basis | None, now: Basis) -> Forecast:
    record = read_record(record_path(root, task["task"], task["key"]))
    if record is not None and record.answers:
        return Forecast(task["task"], True)
    if old is None:
        return Forecast(task["task"], False, ("the latest run did not get as far as resolving",))
    why = tuple(changes(plan_of(task), task["subject"], old, now))
    return Forecast(task["task"], False, why or (_unfinished(record),))


def _unfinished(record: TaskRecord | None) -> str:
    if record is None:
        return "nothing changed, but the latest run did not get to it"
    if record.state == "succeeded":
        return "nothing changed, but what it left is gone"
    return f"nothing changed, but it {record.state}: {record.message or 'it was killed'}"


def _basis(run: Mapping[str, Any]) -> Basis:
    configs = {
        name: {key: value for key, value in plan["config"].items() if key not in _no_news(name)}
        for name, plan in run["plans"].items()
    }
    return Basis(configs, run["digests"], run["trials"], run["baselines"])


def _no_news(plan: str) -> tuple[str, ...]:
    """Settings that change nothing of a plan."""
    return (*ROWS[plan].derived, *ROWS[plan].ignores)


def changes(plan: str, subject: Mapping[str, Any] | None, old: Basis, now: Basis) -> Iterator[str]:
    """What changed for a task, in words."""
    yield from _own_changes(plan, old, now)
    row = ROWS[plan]
    if subject is not None and row.once == "trial" and dict(subject) not in old.trials:
        same = next((each for each in old.trials if subject_name(each) == subject_name(subject)), None)
        yield "the trial is new" if same is None else f"trial: {'; '.join(_differences(same, subject))}"
    if subject is not None and row.once == "baseline" and dict(subject) not in old.baselines:
        yield f"the {subject_name(subject)} is another one"
    if depends_on(row, "trial") and old.trials != now.trials:
        yield "the list of trials"
    if depends_on(row, "baseline") and old.baselines != now.baselines:
        yield "the champion"
    if before := [each for each in _before(plan, now) if _changed(each, subject, old, now)]:
        yield f"after {', '.join(before)}"


def _own_changes(plan: str, old: Basis, now: Basis) -> Iterator[str]:
    stage = ROWS[plan].stage
    if plan not in old.configs:
        yield "the stage is new"
        return
    for name in (*ROWS[plan].digests, f"code/{stage}"):
        left, right = old.digests.get(name, ""), now.digests.get(name, "")
        if left != right:
            yield f"{name} {left[:8] or 'none'} -> {right[:8] or 'none'}"
    before, after = ({**side.configs[plan], **side.constants.get(stage, {})} for side in (old, now))
    for difference in _differences(before, after):
        yield f"{stage}.{difference}"


def _before(plan: str, now: Basis) -> list[str]:
    return [each for each in ROWS[plan].after if each in now.configs]


def _changed(plan: str, subject: Mapping[str, Any] | None, old: Basis, now: Basis) -> bool:
    """Whether a task before another one runs again."""
    trials = False
    if ROWS[plan].once == "trial":
        trials = old.trials != now.trials if subject is None else dict(subject) not in old.trials
    own = any(_own_changes(plan, old, now))
    return own or trials or any(_changed(each, subject, old, now) for each in _before(plan, now))


def _differences(left: Any, right: Any, where: str = "") -> Iterator[str]:
    """Where two plain values differ: ``optimizer.learning_rate 1e-05 -> 2e-05``."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}):
            yield from _differences(left.get(key), right.get(key), f"{where}.{key}" if where else str(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (before, after) in enumerate(zip(left, right, strict=True)):
            yield from _differences(before, after, f"{where}.{number}")
    elif json_digest(left) != json_digest(right):
        yield f"{where} {_short(left)} -> {_short(right)}"


def _short(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # DAGs have no other numbers
    text = "unset" if value is None else str(value)
    text = text[:8] if HEX.fullmatch(text) else text
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def show(forecasts: list[Forecast]) -> None:
    """Print a line a task, and how many are reused."""
    for each in forecasts:
        what = "reused" if each.reused else f"runs: {'; '.join(each.why)}"
        print(f"{each.task:<28} {what}")
    print(f"{sum(each.reused for each in forecasts)} of {len(forecasts)} tasks are reused")
