"""Component ``resolve``."""

from pathlib import Path
from typing import Any, NamedTuple

from copg.stages.table import TABLE, rows
from copg_components._component import component


def resolved() -> Any:
    """Outputs: a plan of each row of the table of stages, and what the loops go over."""
    plans = [(row.name, dict) for row in TABLE]
    return NamedTuple("Resolved", [*plans, ("baselines", list), ("trials", list)])


@component
def resolve(
    name: str,
    records: str,
    model: str,
    rewards: list,
    trials: list,
    run_dir: str,
    settings: dict = {},  # noqa: B006 - the default of a component's input
    betas: list = [],  # noqa: B006
    epochs: int = 0,
    max_kl: float = 0.0,
    plans: list = [],  # noqa: B006
    again: bool = False,
) -> resolved():  # type: ignore[valid-type]
    """Check the recipe, and digest data, model, rewards and code: the one step that is never cached.

    Args:
        name: Of the registered model and the experiment.
        records: File, folder or data set of records.
        model: Reference model: directory or hub name.
        rewards: Rewards with weights and settings.
        trials: One training each, with method and beta.
        run_dir: Stable directory of the runs; the same for every run of a recipe.
        settings: Settings of the stages, by stage; and what else the recipe says once: revision of the model
            on the hub, tracking (an MLflow server or database), text; tasks_at_once on one machine.
        betas: A trial for each, instead of those in trials, which must be of one method; empty for those.
        epochs: Of every training; 0 for what the settings say.
        max_kl: Nats that a promoted policy may be from its reference; 0 for what the settings say.
        plans: Names of the plans whose tasks the DAG has; empty for all.
        again: Whether tasks work though the record of an earlier run answers in their place.

    Returns:
        baselines: The reference, and the champion where there is one.
        trials: The trials, as the loop takes them.
    """
    from copg.config import parse_config
    from copg.run.form import folded
    from copg.run.plan_files import store_plan
    from copg.run.resolve import ResolveConfig, resolve_recipe
    from copg.run.task_record import TOLD
    from copg_components._process import recorded

    given: dict[str, Any] = {"name": name, "records": records, "model": model, "rewards": rewards}
    given |= {"trials": trials, "settings": settings, "betas": betas, "epochs": epochs, "max_kl": max_kl}
    with recorded("resolve", {"key": "always"}, run_dir) as record:
        recipe, at_once = folded(given)
        config = {"recipe": recipe, "run_dir": run_dir, "tasks_at_once": at_once}
        config |= {"plans": plans, "again": again}
        found = resolve_recipe(parse_config(ResolveConfig, config, where="resolve"))
        record.facts[TOLD] = "\n".join(filter(None, (found.ending, found.outlook)))
        short = {
            row.name: store_plan(Path(run_dir), found.plans[row.name], recipe["stages"].get(row.stage, {}))
            for row in rows(found.plans)
        }
    return (*[short.get(row.name, {}) for row in TABLE], found.baselines, found.trials)


if hasattr(resolve, "component_spec"):  # in a task it is a function, and nobody reads descriptions
    for _row in TABLE:
        _output = resolve.component_spec.outputs[_row.name]
        _output.description = f"Settings and digest of {_row.name}; empty when the run has no such task."
