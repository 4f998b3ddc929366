"""The parameters of a pipeline as a recipe: what people turn in a form, folded into what the recipe says."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg.run.task_names import trial_method

WHOLE = ("name", "records", "model", "rewards", "trials")
"""Parameters that the recipe calls the same."""
APART = ("stages", "placement")
"""The sections, which are ``settings``; what the tasks are placed by, they need not know."""
OF_RECIPE = tuple(each.name for each in fields(Recipe) if each.name not in (*WHOLE, *APART))
"""Keys of ``settings`` that are no stage's: whatever else a recipe says."""
AT_ONCE = "tasks_at_once"
"""Likewise: of the machine that all tasks share."""


def unfolded(recipe: Recipe, *, tasks_at_once: int = 0) -> dict[str, Any]:
    """A recipe as parameters, with nothing turned.

    Args:
        recipe: what to align.
        tasks_at_once: trials that share one machine; 0 when each task has its own.
    """
    own = {**{name: getattr(recipe, name) for name in OF_RECIPE}, AT_ONCE: tasks_at_once}
    settings = {**recipe.stages, **{name: value for name, value in own.items() if value}}
    turned: dict[str, Any] = {"betas": [], "epochs": 0, "max_kl": 0.0}
    return {**{name: getattr(recipe, name) for name in WHOLE}, "settings": settings, **turned}


def folded(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The recipe that parameters stand for, as plain values, and how many trials share a machine.

    Args:
        parameters: by name; ``betas``, ``epochs`` and ``max_kl`` count where they are not empty or 0.

    Raises:
        ConfigError: ``betas`` are given, and the trials differ in more than beta.
    """
    settings = dict(parameters.get("settings") or {})
    at_once = int(settings.pop(AT_ONCE, 0))
    own = {name: settings.pop(name) for name in OF_RECIPE if name in settings}
    if parameters.get("epochs"):
        settings["train"] = {**(settings.get("train") or {}), "epochs": parameters["epochs"]}
    if parameters.get("max_kl"):
        settings["promote"] = {**(settings.get("promote") or {}), "max_kl": parameters["max_kl"]}
    recipe = {name: parameters[name] for name in WHOLE}
    if betas := parameters.get("betas"):
        recipe["trials"] = _with_betas(recipe["trials"], betas)
    return {**recipe, **own, "stages": settings}, at_once


def _with_betas(trials: Sequence[Mapping[str, Any]], betas: Sequence[Any]) -> list[dict[str, Any]]:
    """A trial for each beta, all else as the trials have it."""
    methods = list(dict.fromkeys(map(trial_method, trials)))
    if len(methods) > 1:
        raise ConfigError(
            f"betas={list(betas)}: the trials have several methods ({', '.join(methods)}), whose betas mean "
            "different things: change trials instead"
        )
    same = [{key: value for key, value in trial.items() if key not in ("beta", "name")} for trial in trials]
    if any(each != same[0] for each in same):
        raise ConfigError(
            f"betas={list(betas)}: the trials differ in more than beta, so that it is not clear which these "
            "are of: change trials instead"
        )
    return [{**same[0], "beta": beta} for beta in betas]
