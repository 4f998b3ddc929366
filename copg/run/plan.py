"""What each task of a run depends on: the digests by which a cache may answer in its place."""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST, WEIGHTS_DELETED
from copg.digests import json_digest
from copg.run.champion import find_champion
from copg.run.outlook import GATE, first_size, gate_size
from copg.run.recipe import SAMPLE, Recipe
from copg.run.sources import DigestMemo
from copg.run.task_names import RENEWAL, subject_name, task_key, task_name, trial_method
from copg.run.task_record import read_json, read_record, record_path
from copg.run.trained_reward import STAGE as REWARD
from copg.run.trained_reward import model_folder, with_model
from copg.stages.table import ROWS, TABLE, depends_on, row_of, rows, upstream
from copg.stores.sealed import write_sealed
from copg.tracking.pointer import BEFORE, RUN_KEY, SAME

RENEWALS = "renewals.json"
VERSION = 1
"""Raised by hand when a component comes to give its stage something else: no digest sees that."""


@dataclass(frozen=True)
class Plan:
    """What the tasks of a run are to do."""

    plans: dict[str, dict[str, Any]]
    """``{"key": .., "config": ..}`` of each stage; ``baseline`` is ``evaluate`` of reference and champion,
    ``reward`` is there when the run trains a reward model."""
    baselines: list[dict[str, Any]]
    """``{"name": "reference"}``, and the champion with version, uri and digest where there is one."""
    trials: list[dict[str, Any]]
    """Those of the recipe, each with ``code``, the digest of its method's; one with ``renewal`` is trained
    again though nothing it depends on changed."""
    tasks: list[dict[str, Any]]
    """``{task, stage, subject, key, loop}`` of every task to come, in order."""


def make_plan(
    recipe: Recipe,
    run_dir: Path,
    configs: Mapping[str, dict[str, Any]],
    digests: Mapping[str, str],
    planned: Collection[str] = (),
    memo: DigestMemo | None = None,
) -> tuple[Plan, list[str]]:
    """The plan of a run, and what the user should know about it.

    Args:
        recipe: for its trials.
        run_dir: directory of the runs, with the records of earlier ones.
        configs: settings of every stage, complete; ``train`` without a trial.
        digests: of ``data``, ``model``, ``rewards/<stage>``, ``code/<stage>``, ``method/<method>``, and
            ``reward_base`` when a reward model is trained.
        planned: plans whose tasks the DAG has; empty for all of the table.
        memo: of files read before; None: that of the runs.

    Raises:
        TrackingError: the registry of the champion cannot be reached.
    """
    # a short one, for KFP hands it to every node of a trial
    trials = [{**each, "code": digests[f"method/{trial_method(each)}"][:16]} for each in recipe.trials]
    keys = stage_keys(configs, digests, trials)
    trials, notes = _renewed(run_dir, keys, trials)
    run_key = keys["promote"]
    champion = find_champion(configs["promote"], run_key, digests, memo or DigestMemo(run_dir))
    before = champion.measured
    notes += [champion.note] if champion.note else []
    for name in keys:
        if depends_on(ROWS[name], "baseline"):
            keys[name] = json_digest([keys[name], before])
    settings = {name: configs[ROWS[name].stage] for name in keys}
    tags = _tags(digests, run_key, before)
    settings["promote"] = {**configs["promote"], "tags": tags, "replaces": champion.version}
    lineage = {"records": recipe.records, "reference": recipe.model, **_made_from(digests)}
    settings["report"] = {**configs["report"], "lineage": lineage}
    baselines = [{"name": "reference"}, *([before] if before else [])]
    if REWARD in keys:
        settings = with_model(settings, model_folder(run_dir, keys[REWARD]))
    plans: dict[str, dict[str, Any]] = {
        name: {"key": key, "config": settings[name]} for name, key in keys.items()
    }
    if "score" in plans and "promote" in (planned or ROWS):
        # it tells of the gate, on which no reward depends
        plans["score"][GATE] = size = gate_size(configs, trials)
        if "validate" in plans and {REWARD, SAMPLE} & keys.keys():  # which cost, and come before the scores
            plans["validate"][GATE] = first_size(size, configs["score"].get("rewards", []))
    again = [REWARD] if REWARD in keys and _model_missed(run_dir, keys[REWARD]) else []
    for name in (*again, *(["promote"] if champion.lost else [])):
        plans[name][RENEWAL] = uuid.uuid4().hex
    tasks = _tasks({name: key for name, key in keys.items() if name in (planned or ROWS)}, baselines, trials)
    return Plan(plans, baselines, trials, tasks), notes


def stage_keys(
    configs: Mapping[str, Any], digests: Mapping[str, str], trials: list[dict[str, Any]]
) -> dict[str, str]:
    """Of each plan: digest of its stage's code and settings, and of all that its inputs depend on.

    What follows the baselines also depends on the champion, which is not known here.
    """
    keys: dict[str, str] = {}
    for row in TABLE:
        if row.stage in configs:
            before = [keys[name] for name in row.after if name in keys]
            found = [digests[name] for name in row.digests]
            asked = {name: value for name, value in configs[row.stage].items() if name not in row.ignores}
            own = [VERSION, row.name, digests[f"code/{row.stage}"], asked]
            looped = [trials] if depends_on(row, "trial") else []
            keys[row.name] = json_digest([*own, *before, *found, *looped])
    return keys


def _tags(digests: Mapping[str, str], run_key: str, before: dict[str, Any] | None) -> dict[str, str]:
    return {**_made_from(digests), RUN_KEY: run_key, BEFORE: json.dumps(before)}


def _made_from(digests: Mapping[str, str]) -> dict[str, str]:
    needed = {f"code/{ROWS[name].stage}" for name in upstream(("promote",))}
    code = json_digest({name: it for name, it in digests.items() if name in needed or name[:7] == "method/"})
    return {
        **{name: digests[name] for name in ("data", *SAME)},
        "rewards": digests["rewards/evaluate"],
        "code": code,
    }


def _renewed(
    run_dir: Path, keys: Mapping[str, str], trials: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The trials, and those to be trained again: their weights, deleted to free the disk, are needed."""
    known = read_json(run_dir / RENEWALS)
    renewal = keys["evaluate"]
    again = known.get(renewal, []) or [subject_name(t) for t in trials if _weights_missed(run_dir, keys, t)]
    if not again:
        return trials, []
    write_sealed(run_dir / RENEWALS, {**known, renewal: again})
    note = (
        f"the weights of {', '.join(again)} were deleted after promotion and must be evaluated again: "
        "trained again (promote.keep: all keeps every trial's weights)"
    )
    renewed = [{**trial, "renewal": renewal} if subject_name(trial) in again else trial for trial in trials]
    return renewed, [] if renewal in known else [note]


def _weights_missed(run_dir: Path, keys: Mapping[str, str], trial: dict[str, Any]) -> bool:
    evaluated, trained = (
        read_record(record_path(run_dir, task_name(stage, trial), task_key(keys[stage], trial)))
        for stage in ("evaluate", "train")
    )
    if trained is None or (evaluated is not None and evaluated.state == "succeeded"):
        return False
    return (Path(trained.outputs.get("policy", "")) / WEIGHTS_DELETED).is_file()


def _model_missed(run_dir: Path, key: str) -> bool:
    """Whether the reward model was trained once and is gone: a cache would still answer for its training."""
    trained = read_record(record_path(run_dir, REWARD, key))
    return trained is not None and not (model_folder(run_dir, key) / MANIFEST).is_file()


def _tasks(
    keys: Mapping[str, str], baselines: list[dict[str, Any]], trials: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    subjects: dict[str, list[Any]] = {"run": [None], "baseline": baselines, "trial": trials}
    for once, together in groupby(rows(keys), lambda row: row.once):
        stages = [(row.stage, keys[row.name]) for row in together]
        loop = None if once == "run" else f"{once}s"
        for subject in subjects[once]:
            for stage, key in stages:
                named = {"task": task_name(stage, subject), "stage": stage, "subject": subject}
                found.append({**named, "key": task_key(key, subject), "loop": loop})
    return found


def plan_of(task: Mapping[str, Any]) -> str:
    """Which plan a task follows."""
    once = {None: "run", "baselines": "baseline", "trials": "trial"}[task["loop"]]
    return row_of(task["stage"], once).name
