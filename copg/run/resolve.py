"""Stage ``resolve``: what the names in a recipe stand for today, as the digests that caching depends on.

The one stage that always runs. Everything after it takes its plan (settings and digest) as a parameter, so
that a cache answers exactly when neither data, model, rewards, code nor settings changed.
"""

import sys
import uuid
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from copg.config import configuration
from copg.digests import code_digest, json_digest
from copg.errors import ConfigError
from copg.losses import WITH_MISMATCHED, find_loss
from copg.losses.units import has_reward_units
from copg.rewards.contract import RewardSpec
from copg.rewards.registry import digest_of_inputs, digest_of_purpose, digest_of_rewards
from copg.run.check import called_rewards, check_recipe, settings_of, stores_of
from copg.run.cut_off import unfinished
from copg.run.first_folders import of_no_effect, of_other_base
from copg.run.first_needs import unmet
from copg.run.first_records import first_of
from copg.run.footprint import estimate_needs, lack_of_disk, measure_model, shortfalls
from copg.run.hub import Source, has_weights
from copg.run.outlook import GATE, tell_known_outlook
from copg.run.plan import Plan, make_plan
from copg.run.recipe import Recipe
from copg.run.sampler import find_sampler
from copg.run.sources import DigestMemo, digest_text, find_model, find_policy, find_records, find_text
from copg.run.task_names import RENEWAL, trial_method
from copg.run.task_record import RUN
from copg.run.text_check import check_text
from copg.run.trained_reward import means_trained
from copg.stages.table import TABLE
from copg.stores.files import reach_stores
from copg.stores.model_files import ADAPTER
from copg.stores.sealed import write_sealed

CALLING = ("score", "evaluate")
"""Stages that call the rewards that their settings name; those of ``train`` are among its samples'."""


@configuration
class ResolveConfig:
    """What to resolve."""

    recipe: Recipe
    run_dir: str
    """Stable directory of the runs: records of tasks, stores, checkpoints."""
    tasks_at_once: int = 0
    """Trials that share this machine; 0: the tasks run elsewhere, so its memory and disk do not matter."""
    plans: list[str] = field(default_factory=list)
    """Those whose tasks the DAG has; empty: all of the table of stages."""
    again: bool = False
    """Whether tasks work though their records answer in their place."""


@dataclass(frozen=True)
class Resolution(Plan):
    """What the stages after it are to do, and what that depends on."""

    digests: dict[str, str] = field(default_factory=dict)
    """Of ``data``, ``model``, ``text`` (how it reads), ``purpose``, ``rewards/<stage>``, ``code/<stage>``,
    ``method/<method>``, and ``reward_base`` and ``sampler`` if there is one."""
    warnings: list[str] = field(default_factory=list)
    ending: str = ""
    """In words, what ends a completion."""
    outlook: str = ""
    """Which gains the gate will see, in one line, where an earlier run scored these logs."""


def resolve_recipe(config: ResolveConfig) -> Resolution:
    """Check the whole recipe and digest everything it names; writes ``run.json`` into ``run_dir``.

    Raises:
        ConfigError: settings are wrong, or this machine cannot hold the run; all reasons in one line.
        RecordError: there are no records under that name.
        ModelError: there is no model under that name.
        RewardError: a reward is unknown or cannot be loaded.
        StoreError: an object store in which a stage keeps what it makes does not answer.
    """
    run_dir = Path(config.run_dir)
    run: dict[str, Any] = {
        "run": uuid.uuid4().hex[:12],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    run |= {"alone": config.again, "before": unfinished(run_dir)}  # one stage alone writes no summary
    write_sealed(run_dir / RUN, {**run, "name": config.recipe.name})
    resolution = plan_recipe(config, library=True)
    write_sealed(run_dir / RUN, {**run, "name": config.recipe.name, **asdict(resolution)})
    print(resolution.ending, file=sys.stderr, flush=True)
    for warning in resolution.warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return replace(resolution, outlook=tell_known_outlook(run_dir, resolution.plans))


def plan_recipe(config: ResolveConfig, *, library: bool = False) -> Resolution:
    """What ``resolve_recipe`` finds, without beginning a run; ``library`` is that of ``check_recipe``."""
    recipe, run_dir = config.recipe, Path(config.run_dir)
    check_recipe(recipe, run_dir, library=library)  # every mistake in the settings, before gigabytes are read
    if library:
        reach_stores(stores_of(settings_of(recipe, run_dir)).values())
    memo = DigestMemo(run_dir)
    records = find_records(recipe.records, recipe.stages.get("validate", {}).get("revision"), memo)
    model = find_model(recipe.model, recipe.revision, memo)
    configs = settings_of(recipe, run_dir, revision=model.revision, digest=model.digest)
    if not config.again:  # alone, a stage is given what others left
        _check_first(recipe, configs)
    configs |= _with_promises(configs)
    ending, doubts = check_text(configs)
    warnings = _check_machine(config, configs["train"], model, records) + doubts
    warnings += of_no_effect(recipe)
    digests = {
        "data": records.digest,
        "model": model.digest,
        "text": digest_text(recipe.model, model, memo),
        "purpose": digest_of_purpose(configs["evaluate"].rewards),
        **{f"rewards/{stage}": digest_of_rewards(specs) for stage, specs in called_rewards(configs).items()},
        **{f"code/{stage}": _code(stage, each) for stage, each in configs.items()},
        **{f"method/{m}": _loss(m) for m in sorted({trial_method(t) for t in recipe.trials})},
    }
    if records.revision is None:
        configs["validate"] = replace(configs["validate"], records_digest=records.digest)
    train = configs["train"]
    if train.start_from is not None:
        start = find_policy(train.start_from, train.start_revision, memo)
        warnings += of_other_base(recipe)
        configs["train"] = replace(train, start_digest=start.digest, start_revision=start.revision)
    for stage in ("validate", "sample"):
        if stage in configs:
            configs[stage] = _with_reader(configs[stage], memo)
    if "reward" in configs:
        configs["reward"] = _with_base(configs["reward"], memo)
        digests["reward_base"] = configs["reward"].model_digest
    sampler = find_sampler(configs, digests, memo)
    if sampler is not None:
        configs["sample"], digests["sampler"] = sampler.config, sampler.digest
        warnings += [sampler.note] if sampler.note else []
    plain: dict[str, Any] = {stage: _without_none(asdict(each)) for stage, each in configs.items()}
    plain["train"].pop("trial")
    if records.revision is not None:
        plain["validate"]["revision"] = records.revision
    plan, notes = make_plan(recipe, run_dir, plain, digests, config.plans, memo)
    if config.again:
        for each in plan.plans.values():
            each[RENEWAL] = uuid.uuid4().hex
            each.pop(GATE, None)  # alone, no stage is about promotion
    return Resolution(**asdict(plan), digests=digests, warnings=warnings + notes, ending=ending)


def _check_first(recipe: Recipe, configs: dict[str, Any]) -> None:
    """Refuse what the first records show that no run can do, before it trains a reward or draws anything."""
    found = first_of(recipe.records, configs["validate"])
    specs = {spec.part: spec for each in called_rewards(configs).values() for spec in each}
    if found.shapes and (told := [*unmet(recipe, found, specs.values())]):
        raise ConfigError("; ".join(told))


def _with_base(config: Any, memo: DigestMemo) -> Any:
    """Settings of ``reward`` with the commit and the digest of the model that it starts from."""
    base = find_model(config.model, config.revision, memo)
    if (Path(config.model) / ADAPTER).is_file():  # which lies on yet another model
        base = find_policy(config.model, config.revision, memo)
    return replace(config, revision=base.revision, model_digest=base.digest)


def _with_promises(configs: dict[str, Any]) -> dict[str, Any]:
    """The stages that call rewards, each of which is held to what it reads today."""
    samples = replace(configs["train"].samples, rewards=_promised(configs["train"].samples.rewards))
    return {
        **{name: replace(configs[name], rewards=_promised(configs[name].rewards)) for name in CALLING},
        "train": replace(configs["train"], samples=samples),
    }


def _promised(specs: list[RewardSpec]) -> list[RewardSpec]:
    """The same with the digest of what each reads; of the model that the run trains, nothing is known yet."""
    return [
        each if means_trained(vars(each)) else replace(each, digest=digest_of_inputs(each)) for each in specs
    ]


def _with_reader(config: Any, memo: DigestMemo) -> Any:
    """The same settings with the digest of the tokeniser that their reader uses, if they have one."""
    if config.reader is None:
        return config
    digest = find_text(config.reader.model, config.reader.revision, memo)
    return replace(config, reader=replace(config.reader, text_digest=digest))


def _check_machine(config: ResolveConfig, train: Any, model: Source, records: Source) -> list[str]:
    """Warnings about this machine; a run that cannot fit is refused.

    Where each task has a machine of its own, and policies go to an object store, the volume alone is looked
    at, and doubted rather than refused.
    """
    if not has_weights(model.folder):
        return []
    num_trials = len(config.recipe.trials)
    needs = estimate_needs(
        measure_model(model.folder),
        asdict(train),
        num_trials=num_trials,
        at_once=config.tasks_at_once or num_trials,
        records_bytes=records.num_bytes,
        mismatched=any(trial_method(each) in WITH_MISMATCHED for each in config.recipe.trials),
    )
    if not config.tasks_at_once:
        return lack_of_disk(needs, Path(config.run_dir))
    impossible, doubtful = shortfalls(needs, Path(config.run_dir))
    if impossible:
        raise ConfigError("; ".join(impossible))
    return doubtful


def _loss(method: str) -> str:
    """Of ``module:function``, as several losses share a file, and of its unit, which stands beside it."""
    function = find_loss(method)
    code = code_digest(function.partition(":")[0])
    return json_digest({function: code, "reward_units": has_reward_units(method)})


def _code(stage: str, config: Any) -> str:
    """Of our source, of modules that the settings name, and of the libraries that decide the numbers."""
    names = {name for row in TABLE if row.stage == stage for name in row.libraries}
    code = {module: code_digest(module) for module in (f"copg.stages.{stage}", *sorted(_named(config)))}
    return json_digest({"code": code, **{name: version(name) for name in sorted(names)}})


def _named(config: Any) -> set[str]:
    """What a configuration, or one inside it, has under ``modules``: loaded by name, not imported."""
    if not is_dataclass(config):
        return set()
    inner = [_named(getattr(config, each.name)) for each in fields(config)]
    return {*getattr(config, "modules", ()), *(name for names in inner for name in names)}


def _without_none(value: Any) -> Any:
    """The same value without keys that hold None, which is every such key's default: a local pipeline
    refuses it as a parameter.
    """
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value
