"""Recipes: one YAML file that says what to align, on what, for which score, in which trials."""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from copg.artifacts import BASELINES
from copg.config import WHOLE, configuration, parse_config, unknown_key
from copg.errors import ConfigError, CopgError
from copg.run.mistakes import apart, without_echoes
from copg.run.recipe_paths import PATHS, make_absolute
from copg.run.shared import ORIGINS, TRIAL, as_written
from copg.run.spelling import misspelt
from copg.run.task_names import subject_name
from copg.run.trained_reward import REWARD as REWARD_MODEL
from copg.run.trained_reward import STAGE as REWARD
from copg.run.trained_reward import as_ensembles, trains_reward
from copg.run.yaml_file import read_yaml, set_value
from copg.stages.table import OPTIONAL, STAGES

SAMPLE = "sample"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@configuration
class Recipe:
    """What one run of the pipeline is made of."""

    name: str
    """Of the registered model and of the experiment: letters, digits, ``.``, ``_`` and ``-``."""
    records: str
    """File, folder, or name of a ``datasets`` data set."""
    model: str
    """The reference, from which every trial starts: model directory or hub name."""
    trials: list[dict[str, Any]]
    """One training each: ``{method, beta}``, and ``learning_rate``, ``seed`` or ``name`` if you like."""
    rewards: list[dict[str, Any]] = field(default_factory=list)
    """What is maximised: ``{name, weight, params}`` each."""
    revision: str | None = None
    """Branch, tag or commit of ``model`` on the hub."""
    tracking: str = ""
    """MLflow server or database; empty: a sqlite file in the directory of the runs, on Kubernetes the
    placement's."""
    report_beta: float | None = None
    """At which the report tells J = reward - beta * KL of every policy, reward units per nat, > 0; None: that
    of the CoPG trial nearest the chosen one."""
    text: dict[str, Any] = field(default_factory=dict)
    """How prompts and completions become tokens, in every stage: thinking, special tokens, template."""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of each stage, by its name; in a recipe file each is a key of its own."""
    placement: dict[str, Any] = field(default_factory=dict)
    """Where the tasks run on Kubernetes; without effect elsewhere."""

    def __post_init__(self) -> None:
        if mistakes := [*self._mistakes()]:
            raise ValueError("; ".join(mistakes))

    def _mistakes(self) -> Iterator[str]:
        if not NAME.fullmatch(self.name):
            yield f"name={self.name!r} must be letters, digits, '.', '_' and '-', at most 63"
        if not self.trials:
            yield "trials is empty: name at least one, such as {method: copg, beta: 0.05}"
        try:
            names = [subject_name(trial) for trial in self.trials]
        except (KeyError, TypeError, ValueError, OverflowError):
            betas = [trial.get("beta") for trial in self.trials]
            yield f"the betas of trials must be numbers, or {{kl: NATS}}, found {betas!r:.200}"
            names = []
        for name in dict.fromkeys(names):
            if not NAME.fullmatch(name):
                yield f"trial name={name!r} must be letters, digits, '.', '_' and '-', at most 63"
            if name in BASELINES:
                yield f"trial name={name!r} is taken by the baselines; choose another"
            if names.count(name) > 1:
                yield f"{names.count(name)} trials are called {name!r}: give each a 'name'"
        if unknown := set(self.stages) - set(STAGES + OPTIONAL):
            yield f"stages {sorted(unknown)} are unknown; use {list(STAGES + OPTIONAL)}"
        if "trial" in (self.stages.get("train") or {}):
            yield "train.trial comes from trials: set it there"
        try:
            trains_reward(self.rewards, self.stages)
        except ValueError as error:
            yield str(error)

    @property
    def by_key(self) -> dict[str, Any]:
        """What a dotted key of a section reaches, and what stands beside the sections, but for lists."""
        own = ("records", "model", "revision", "tracking")
        return {**{name: getattr(self, name) for name in own}, **self.stages}

    @property
    def trains_reward(self) -> bool:
        """Whether a run of it trains a reward model on the preferences first.

        An entry ``reward_model`` without a model stands for it, or a section ``reward`` without ``rewards``
        asks for it; else the section waits for the stage to be run alone.
        """
        return trains_reward(self.rewards, self.stages)

    @property
    def samples(self) -> bool:
        """Whether a run of it draws the completions that its records lack."""
        return SAMPLE in self.stages

    @property
    def planned(self) -> tuple[str, ...]:
        """Stages that a run of it takes, those of every run first."""
        taken = {REWARD: self.trains_reward, SAMPLE: self.samples}
        return (*STAGES, *(stage for stage in OPTIONAL if taken.get(stage, True)))


def load_recipe(path: Path, overrides: Sequence[str] = (), *, here: Path | None = None) -> Recipe:
    """The recipe in a YAML file.

    Args:
        path: the file.
        overrides: ``key=value`` each, dots for depth (``train.epochs=3``), values in YAML.
        here: given where the recipe runs on this machine: relative paths in the file then start from the
            file's own folder, those in ``overrides`` from ``here``. None: all stay as they are written.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing or of the wrong type.
    """
    try:
        return parse_recipe(read_recipe(path, overrides, here=here))
    except ConfigError as error:
        line = str(error)
        raise ConfigError(line if line.startswith(str(path)) else f"{path}: {line}") from None


def read_recipe(path: Path, overrides: Sequence[str] = (), *, here: Path | None = None) -> dict[str, Any]:
    """The plain values of ``load_recipe``, which takes the same.

    Raises:
        ConfigError: the file cannot be read.
    """
    values = read_yaml(path)
    if here is not None:
        make_absolute(values, PATHS, path.resolve().parent)
    for override in overrides:
        set_value(values, override)
    if here is not None:
        make_absolute(values, [override.partition("=")[0] for override in overrides], here)
    return values


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values, a key for each stage's settings.

    Raises:
        ConfigError: all mistakes of the recipe's own keys, not just the first; those of sections come later.
    """
    flat, mistakes = settle_recipe(values)
    try:
        recipe = make_recipe(flat)
    except ConfigError as error:
        mistakes += apart(str(error))
    mistakes = without_echoes(mistakes)
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return recipe


def make_recipe(flat: Mapping[str, Any]) -> Recipe:
    """A recipe from its fields; of ``stages`` a mistake is told by the key that a user gives at the top.

    Raises:
        ConfigError: all mistakes of the fields.
    """
    try:
        return parse_config(Recipe, flat, where=WHOLE)
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{WHOLE}.stages.", f"{WHOLE}.")) from None


def settle_recipe(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of a recipe from plain values with a key for each stage, and what is wrong with the keys."""
    flat = dict(values)
    stages = {stage: flat.pop(stage) for stage in STAGES + OPTIONAL if stage in flat}
    stages = {stage: {} if section is None else section for stage, section in stages.items()}
    known = {each.name for each in fields(Recipe)} - {"stages"} | {*STAGES, *OPTIONAL}
    strange = [key for key in flat if key not in known | {"stages"}]
    mistakes = [_unknown(key, sorted(known)) for key in strange]
    flat = {key: item for key, item in flat.items() if key not in strange}
    nested = flat.pop("stages", None) or {}
    if not isinstance(nested, Mapping):
        mistakes.append(f"recipe.stages={nested!r:.200} must be keys, each with keys and values")
        nested = {}
    if twice := sorted(set(nested) & set(stages)):
        mistakes.append(f"{twice} are given both at the top of the recipe and in its 'stages': keep one")
    mistakes += misspelt({**flat, **nested, **stages}, "")
    flat["stages"] = {**nested, **stages}
    if REWARD in stages and not flat.get("rewards"):
        flat["rewards"] = [{"name": REWARD_MODEL}]
    section = flat["stages"].get(REWARD)
    flat = as_ensembles(flat, section.get("members") if isinstance(section, Mapping) else None)
    return flat, mistakes


def _unknown(key: str, known: list[str]) -> str:
    """What is said of a key that no recipe has; that of a stage belongs into its section."""
    every = [stage for stage in STAGES + OPTIONAL if key in {f.name for f in fields(config_class(stage))}]
    own = [stage for stage in every if f"{stage}.{key}" not in ORIGINS and f"{stage}.{key}." != TRIAL]
    if own:
        return f"recipe.{key} is unknown; did you mean {' or '.join(f'{stage}.{key}' for stage in own)}?"
    return unknown_key(f"recipe.{key}", known)


def config_class(stage: str) -> Any:
    """``TrainConfig`` of ``train``; its module loads no numerical library."""
    return getattr(importlib.import_module(f"copg.stages.{stage}"), f"{stage.capitalize()}Config")


def parse_stages(recipe: Recipe, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The config dataclass of every stage; of ``train``, with its last trial.

    Args:
        recipe: for its trials, each of which is held against ``train``.
        settings: of every stage that is planned, from ``stage_settings``.

    Raises:
        ConfigError: all mistakes, not just the first.
    """
    configs, mistakes = parse_each(recipe, settings)
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return configs


def parse_each(recipe: Recipe, settings: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """``parse_stages`` of the stages whose settings are right, and what is wrong with the others'."""
    configs: dict[str, Any] = {}
    mistakes: dict[str, list[str]] = {}
    for stage in settings:
        for trial in recipe.trials if stage == "train" else [None]:
            merged = {**settings[stage], "trial": trial} if trial else settings[stage]
            try:
                configs[stage] = parse_config(config_class(stage), merged, where=stage)
            except CopgError as error:
                for line in without_echoes(apart(as_written(str(error), recipe.stages))):
                    mistakes.setdefault(line, []).append(subject_name(trial) if trial else "")
    return configs, [_told(mistake, who, recipe) for mistake, who in mistakes.items()]


def _told(mistake: str, trials: list[str], recipe: Recipe) -> str:
    """A mistake with the trials that make it; one of all trials, or of a section, is none of theirs."""
    of_all = len(trials) == len(recipe.trials)
    if "" in trials or (of_all and (len(trials) > 1 or mistake.startswith("train."))):
        return mistake
    return f"trial {', '.join(trials)}: {mistake}"
