"""Settings of a stage: its section of a recipe, completed by what the recipe says once for all stages."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from copg.losses import WITH_MISMATCHED
from copg.run.recipe import SAMPLE, Recipe, config_class
from copg.run.task_names import trial_method


def stage_settings(
    recipe: Recipe, stage: str, *, run_dir: Path, revision: str | None = None, model_digest: str = ""
) -> dict[str, Any]:
    """A stage's section, completed by what the recipe says once for all stages.

    Args:
        recipe: what the user wrote.
        stage: its name.
        run_dir: where stores, checkpoints and the tracking database lie unless the recipe says otherwise.
        revision: commit of the model on the hub, where it is known by now.
        model_digest: of the model, where it is known by now.
    """
    model = {"model": recipe.model, "revision": revision or recipe.revision}
    known = {each.name for each in fields(config_class(stage))}
    shared = {**(model if "model" in known else {}), "rewards": recipe.rewards}
    own = {name: value for name, value in shared.items() if name in known}
    said_once = _said_once(recipe, run_dir, model, model_digest)
    return merged({**own, **said_once.get(stage, {})}, recipe.stages.get(stage, {}))


def _said_once(
    recipe: Recipe, run_dir: Path, model: Mapping[str, Any], model_digest: str
) -> dict[str, dict[str, Any]]:
    """What each stage has from the rest of the recipe, beside ``model`` and ``rewards``, by its name."""
    tracking = recipe.tracking or f"sqlite:///{run_dir}/mlflow.db"
    rows = recipe.stages.get("train", {}).get("rows") or {}
    longest = (recipe.stages.get("reference") or {}).get("max_tokens", 0)
    reader = {**model, "text": recipe.text, "max_tokens": longest}
    reads = {**model, "model_digest": model_digest, "text": recipe.text}
    drawn_by = {"model_digest": model_digest} if _drawn_from_reference(recipe) else {"revision": None}
    return {
        "validate": {
            "min_held_out": 2,
            "reader": reader,
            **({"min_completions": 0} if recipe.samples else {}),
        },
        "sample": {
            **drawn_by,
            "store": f"{run_dir}/completions",
            "rows": rows,
            "text": recipe.text,
            "reader": _reader(recipe, reader),
        },
        "score": {"rewards": recipe.rewards, "store": f"{run_dir}/rewards", **_ladder_base(recipe)},
        "reference": {**reads, "store": f"{run_dir}/store", "rows": rows, **_mismatched(recipe)},
        "train": {
            **reads,
            "checkpoint": {"folder": f"{run_dir}/checkpoints"},
            "samples": {"rewards": recipe.rewards, **_as_long_as_evaluated(recipe)},
            "tracking": {"uri": tracking, "experiment": recipe.name},
        },
        "evaluate": {**reads, "rewards": recipe.rewards, "rows": rows, **_cluster(recipe)},
        "report": {"name": recipe.name, "report_beta": recipe.report_beta, **_gate_bounds(recipe)},
        "promote": {
            "tracking_uri": tracking,
            "model_name": recipe.name,
            "champions": f"{run_dir}/champions",
            # left out where nobody gave one, so that decisions made before it are the same decisions
            **({} if recipe.report_beta is None else {"report_beta": recipe.report_beta}),
        },
    }


def _drawn_from_reference(recipe: Recipe) -> bool:
    return "model" not in (recipe.stages.get(SAMPLE) or {})


def _ladder_base(recipe: Recipe) -> dict[str, str]:
    """Whose completions a ladder of betas is about, where the run itself has the reference draw them."""
    sample = recipe.stages.get(SAMPLE) or {}
    generation = sample.get("generation") or {}
    plainly = isinstance(generation, Mapping) and (
        generation.get("temperature", 1) == 1 and generation.get("top_p") in (None, 1)
    )
    own = recipe.samples and _drawn_from_reference(recipe) and not sample.get("endpoint")
    return {"completions_from": "reference"} if own and plainly else {}


def _reader(recipe: Recipe, reader: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model that is to say what is drawn, as ``validate`` asks whether it says what was logged."""
    given = (recipe.stages.get("validate") or {}).get("reader", {})
    return None if given is None else merged(reader, given)


def _mismatched(recipe: Recipe) -> dict[str, bool]:
    """Whether a trial compares with completions of other prompts; left out where none does, so that what such
    runs computed is found again.
    """
    return {"mismatched": True} if any(trial_method(t) in WITH_MISMATCHED for t in recipe.trials) else {}


def _cluster(recipe: Recipe) -> dict[str, str]:
    """What the user's records call the column of clusters, where it is called otherwise."""
    columns = (recipe.stages.get("validate") or {}).get("columns") or {}
    return {"cluster": columns["cluster"]} if isinstance(columns, dict) and columns.get("cluster") else {}


def _as_long_as_evaluated(recipe: Recipe) -> dict[str, Any]:
    """How long completions are that are drawn along the way: a KL is that of a whole completion."""
    generation = (recipe.stages.get("evaluate") or {}).get("generation") or {}
    known = isinstance(generation, Mapping) and "max_new_tokens" in generation
    return {"generation": {"max_new_tokens": generation["max_new_tokens"]}} if known else {}


def _gate_bounds(recipe: Recipe) -> dict[str, Any]:
    """By which the report judges: promotion's own."""
    promote = recipe.stages.get("promote") or {}
    return {name: promote[name] for name in ("max_kl", "min_gain", "error", "guards") if name in promote}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, key by key, at every depth."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            both[key] = merged(below[key], above[key])
    return both
