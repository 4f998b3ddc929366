"""Settings of one stage that runs alone: its part of a recipe, under the same keys as in the whole."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from copg.cli.options import runs_here
from copg.cli.renamed import RenamedError
from copg.config import parse_config
from copg.errors import ConfigError
from copg.run.recipe import config_class, load_recipe
from copg.run.spelling import check_spelling
from copg.run.stage_settings import stage_settings
from copg.run.task_names import subject_name
from copg.run.yaml_file import set_value

SHARED = {
    "validate": ("model", "revision", "text", "reference.max_tokens"),
    "sample": ("name", "train.rows", "validate.reader", "reference.max_tokens"),
    "score": ("name",),
    "reference": ("name", "train.rows"),
    "train": ("name", "rewards", "tracking", "trials"),
    "evaluate": ("train.rows", "validate.columns"),
    "report": (
        "name",
        "report_beta",
        "promote.max_kl",
        "promote.min_gain",
        "promote.error",
        "promote.guards",
    ),
    "promote": ("name", "report_beta", "tracking"),
}
"""Keys outside of its own section that a stage uses, beside those of every stage with such a setting."""


def shared_keys(stage: str) -> tuple[str, ...]:
    """Keys of a recipe outside of its own section that a stage uses."""
    known = {each.name for each in fields(config_class(stage))}
    model = ("model", "revision") if "model" in known else ()
    lists = (name for name in ("rewards", "text") if name in known)
    return (*model, *lists, *SHARED.get(stage, ()))


def stage_config(
    stage: str, path: Path | None, overrides: Sequence[str], *, run_dir: str = "", trial: str = ""
) -> Any:
    """The configuration of one stage.

    Args:
        stage: its name.
        path: the recipe; None leaves everything to ``overrides``.
        overrides: ``key=value`` each, keys as in a recipe.
        run_dir: directory of the runs; empty: that of the recipe.
        trial: for ``train``: name of a trial; empty: the first.

    Raises:
        ConfigError: the recipe is wrong or has no such trial, or the stage has no use for a key.
        RenamedError: a key starts from the stage.
    """
    for override in overrides:
        _check_key(stage, override, alone=path is None)
    if path is None:
        given: dict[str, Any] = {}
        for override in overrides:
            set_value(given, override)
        check_spelling(given, "")
        return parse_config(config_class(stage), given.get(stage) or {}, where=stage)
    recipe = load_recipe(path, overrides, here=Path.cwd())
    values = stage_settings(recipe, stage, run_dir=runs_here(recipe, run_dir))
    if stage == "train":
        trials = {subject_name(each): each for each in recipe.trials}
        if trial and trial not in trials:
            raise ConfigError(f"{path}: trial={trial!r} is unknown; use one of {list(trials)}")
        values["trial"] = dict(trials[trial] if trial else recipe.trials[0])
    return parse_config(config_class(stage), values, where=stage)


def _check_key(stage: str, override: str, *, alone: bool) -> None:
    """Refuse an override that a stage does not use; ``alone``, without a recipe, it uses its own section."""
    shared = shared_keys(stage)
    usable = (stage, *(() if alone else shared))
    key = override.partition("=")[0]
    if any(f"{key}.".startswith(f"{each}.") for each in usable):
        return
    first = key.partition(".")[0]
    if first == "trial" and not alone:
        raise ConfigError(f"--set {override}: set trials.0{override[5:]} for the first trial, or another")
    if first in {each.name for each in fields(config_class(stage))}:
        raise RenamedError(f"--set {override}: keys start from the recipe now: --set {stage}.{override}")
    more = f"; with --recipe also {list(shared)}" if alone and shared else ""
    raise ConfigError(f"--set {override}: {stage} does not use it; it uses {list(usable)} and below{more}")
