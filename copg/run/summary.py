"""``summary.json``: what a run did and found, from the records of its tasks, whatever happened to them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import replacing
from copg.errors import DamageError
from copg.run.memory_watch import why_killed
from copg.run.task_names import subject_name, task_name, trial_method
from copg.run.task_record import RECORDS, RUN, TaskRecord, read_json, read_record, record_path
from copg.stages.table import TABLE
from copg.stores.sealed import write_sealed

SUMMARY, PAGE, HISTORY = "summary.json", "report.html", "history"
"""Of the latest run, its report, and the folder in which the summary of every run stays."""
Records = Mapping[str, TaskRecord]
"""Of tasks, by their names."""
RESOLVE_KEY = "always"


def write_summary(run_dir: Path, *, succeeded: bool, job: str = "") -> dict[str, Any]:
    """Write ``summary.json`` of the present run.

    Args:
        run_dir: directory of the runs.
        succeeded: what the pipeline says of itself; records that say otherwise are believed. Of a job that is
            resumed it says what it said before, so that the records alone are asked.
        job: what the pipeline calls this run of its own; empty where it has no name for it.
    """
    run, before = read_json(run_dir / RUN), _told(run_dir)
    resumed = bool(job) and before.get("job") == job
    records = read_records(run_dir, run)
    summary = {**summarise(run, records, succeeded=succeeded or resumed), "job": job}
    if summary["report"]:
        summary["report"] = _lay_out(records["report"], run_dir) or summary["report"]
    write_sealed(run_dir / SUMMARY, summary)
    if summary["run"]:
        write_sealed(run_dir / HISTORY / f"{summary['run']}.json", summary)
    return summary


def _lay_out(reported: TaskRecord, run_dir: Path) -> str | None:
    """Put the report beside the summary, for people; its address there, None where it lies elsewhere."""
    page, shown = Path(reported.outputs.get("report", "")) / PAGE, run_dir / PAGE
    if not page.is_file():
        return None
    with replacing(shown) as part:
        shutil.copyfile(page, part)
    return str(shown)


def _told(run_dir: Path) -> dict[str, Any]:
    """The summary that lies there; nothing where none can be read."""
    try:
        return read_json(run_dir / SUMMARY)
    except DamageError:
        return {}


def read_records(run_dir: Path, run: Mapping[str, Any]) -> dict[str, TaskRecord]:
    """The record of each task of a run, by its name, where there is one."""
    found = {"resolve": read_record(record_path(run_dir, "resolve", RESOLVE_KEY))}
    for task in run.get("tasks", []):
        found[task["task"]] = read_record(record_path(run_dir, task["task"], task["key"]))
    for path in sorted((run_dir / RECORDS).glob("*-shard-*.json")):  # as many as the DAG was compiled for
        shard = read_record(path)
        if shard is not None and shard.run == run.get("run"):
            found[shard.task] = shard
    return {name: record for name, record in found.items() if record is not None}


def summarise(
    run: Mapping[str, Any], records: Mapping[str, TaskRecord], *, succeeded: bool
) -> dict[str, Any]:
    """The summary of a run.

    A task is cached when its record was written by an earlier run and this one ended well.

    Args:
        run: contents of ``run.json``; empty when ``resolve`` never started.
        records: of its tasks, by name.
        succeeded: what the pipeline says of itself.
    """
    tasks = run.get("tasks", [])
    mine = {name: record for name, record in records.items() if record.run == run.get("run", "")}
    failure = _failure(tasks, mine, records, succeeded)
    promotion = records["promote"] if "promote" in records and failure is None else None
    decision = promotion.facts if promotion else {}
    reference = records.get("evaluate-reference")
    reported = records.get("report")
    return {
        "name": run.get("name"),
        "run": run.get("run"),
        "started": run.get("started"),
        "state": "succeeded" if failure is None else "failed",
        "failure": failure,
        "trials": [_trial(task["subject"], records, decision) for task in tasks if task["stage"] == "train"],
        "reference": _estimates(_gate(reference)),
        "reward_model": _reward_model(records.get("reward")),
        "champion": decision.get("champion"),
        "promoted": decision.get("promoted"),
        "best": decision.get("trial"),
        "model": decision.get("model_name"),
        "version": decision.get("version"),
        "policy": _policy(decision, tasks, records),
        "reasons": decision.get("reasons", []),
        "report": reported.outputs.get("page") if reported and failure is None else None,
        "seconds": {name: record.seconds for name, record in records.items()},
        "executed": sorted(mine),
        "cached": [t["task"] for t in tasks if t["task"] not in mine and _ended_well(records.get(t["task"]))],
        "before": run.get("before"),
        "warnings": _warnings(run, records),
        "digests": run.get("digests", {}),
    }


def _reward_model(trained: TaskRecord | None) -> dict[str, float] | None:
    """How well the reward model that the run trained does, beside length; None without one."""
    if trained is None or not trained.metrics:
        return None
    told = ("accuracy", "auc", "length_accuracy", "length_auc", "over_length")
    return {name: value for name, value in trained.metrics.items() if name.partition("/")[0] in told}


def _policy(
    decision: Mapping[str, Any], tasks: list[dict[str, Any]], records: Mapping[str, TaskRecord]
) -> str | None:
    """Where the best trial's policy lies: the champion's copy where it was promoted."""
    if decision.get("promoted"):
        champion = decision.get("champion") or {}
        return champion.get("source")
    trained = (
        t["task"]
        for t in tasks
        if t["stage"] == "train" and subject_name(t["subject"]) == decision.get("trial")
    )
    return next((records[task].outputs.get("policy") for task in trained if task in records), None)


def _warnings(run: Mapping[str, Any], records: Mapping[str, TaskRecord]) -> list[str]:
    """What ``resolve`` and the tasks warned of, in their order, each line once."""
    names = ["resolve", *(task["task"] for task in run.get("tasks", []))]
    done = [records[name] for name in names if name in records]
    return list(dict.fromkeys([*run.get("warnings", []), *(line for each in done for line in each.warnings)]))


def _failure(
    tasks: list[dict[str, Any]],
    mine: Mapping[str, TaskRecord],
    records: Mapping[str, TaskRecord],
    succeeded: bool,
) -> dict[str, Any] | None:
    """Stage, trial and cause of what failed first; None when everything went well."""
    bad = sorted((r for r in mine.values() if r.state != "succeeded"), key=lambda r: (r.started, r.task))
    failed = [record for record in bad if record.state == "failed"]
    for record in failed + bad:
        cause = record.message or why_killed(record.stage, record.memory)
        return _cause(record.stage, record.subject, cause)
    missing = [task for task in tasks if task["task"] not in records]
    if succeeded and tasks and not missing:
        return None
    if not tasks:
        return _cause("resolve", None, "the task never ran; the pipeline's log says why")
    if not missing:
        return _cause("pipeline", None, "failed outside of the stages; its log says why")
    never = "left no record, though the pipeline ended well" if succeeded else "never started"
    return _cause(
        missing[0]["stage"], missing[0]["subject"], f"the task {never}; the pipeline's log says why"
    )


def _ended_well(record: TaskRecord | None) -> bool:
    return record is not None and record.state == "succeeded"


def _cause(stage: str, subject: Mapping[str, Any] | None, cause: str) -> dict[str, Any]:
    if subject is not None and "shard" in subject:
        return {"stage": stage, "trial": None, "cause": f"{subject_name(subject)}: {cause}"}
    return {"stage": stage, "trial": None if subject is None else subject_name(subject), "cause": cause}


def _trial(
    trial: Mapping[str, Any], records: Mapping[str, TaskRecord], decision: Mapping[str, Any]
) -> dict[str, Any]:
    name = subject_name(trial)
    tasks = [task_name(row.stage, trial) for row in TABLE if row.once == "trial"]
    found = {records[task].stage: records[task] for task in tasks if task in records}
    evaluate = found.get("evaluate")
    reported = records["report"].facts if "report" in records else {}
    told = reported.get("policies", {}).get(name, {})
    promoted = decision.get("trial") if decision.get("promoted") else None
    mixes = evaluate.facts.get("mixes", []) if evaluate else []
    return {
        "name": name,
        "method": trial_method(trial),
        **_beta(trial, evaluate),
        **_estimates(_gate(evaluate)),
        "objective": told.get("objective"),
        "hints": told.get("hints", []),
        "promoted": promoted == name,
        "mixes": [_mix(each, reported, promoted=promoted) for each in mixes],
        "diverged": bool(evaluate and evaluate.facts.get("gate", {}).get("diverged")),
        "seconds": {stage: record.seconds for stage, record in found.items()},
    }


def _mix(mix: Mapping[str, Any], reported: Mapping[str, Any], *, promoted: str | None) -> dict[str, Any]:
    """A point that cost no training, by its weight of the trial."""
    return {
        **{name: mix.get(name) for name in ("name", "weight")},
        "scaled": bool(mix.get("policy_digest")),
        **_estimates(mix.get("gate", {})),
        "objective": reported.get("policies", {}).get(mix.get("name"), {}).get("objective"),
        "promoted": promoted == mix.get("name"),
    }


def _beta(trial: Mapping[str, Any], evaluate: TaskRecord | None) -> dict[str, Any]:
    """Beta as it was given, or as it was found for the KL that was asked for, in nats."""
    given = trial.get("beta")
    if not isinstance(given, Mapping):
        return {"beta": given, "target_kl": None}
    return {"beta": evaluate and evaluate.facts.get("gate", {}).get("beta"), "target_kl": given.get("kl")}


def _gate(record: TaskRecord | None) -> Mapping[str, Any]:
    """What was measured on the gate split: no choice was made on it."""
    return record.facts.get("gate", {}) if record is not None else {}


def _estimates(gate: Mapping[str, Any]) -> dict[str, Any]:
    """Reward and KL with their intervals."""
    found: dict[str, Any] = {}
    for quantity in ("reward", "kl", "length"):
        estimate = gate.get(quantity) or {}
        found[quantity] = estimate.get("mean")
        found[f"{quantity}_low"] = estimate.get("low")
        found[f"{quantity}_high"] = estimate.get("high")
    return found
