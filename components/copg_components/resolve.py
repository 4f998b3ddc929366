"""Component ``resolve``."""

from typing import NamedTuple

from kfp import dsl

from copg_components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve(
    name: str,
    records: str,
    model: str,
    revision: str,
    rewards: list,
    trials: list,
    settings: dict,
    tracking: str,
    run_dir: str,
    tasks_at_once: int,
) -> NamedTuple(  # type: ignore[valid-type]
    "Resolved",
    [
        ("validate", dict),
        ("score", dict),
        ("reference", dict),
        ("train", dict),
        ("baseline", dict),
        ("evaluate", dict),
        ("report", dict),
        ("promote", dict),
        ("reward", dict),
        ("baselines", list),
        ("trials", list),
    ],
):
    """Check the recipe, and digest data, model, rewards and code: the one step that is never cached.

    Args:
        name: Of the registered model and the experiment.
        records: File, folder or data set of records.
        model: Reference model: directory or hub name.
        revision: Of the model on the hub; empty for its main branch.
        rewards: Rewards with weights and settings.
        trials: One training each.
        settings: Settings of the stages, by stage.
        tracking: MLflow server or database; empty for a file under the directory of the runs.
        run_dir: Stable directory of the runs.
        tasks_at_once: Trials that share this machine; 0 when tasks run elsewhere.

    Returns:
        validate: Settings and digest of validate.
        score: Settings and digest of score.
        reference: Settings and digest of reference.
        train: Settings and digest of train.
        baseline: Settings and digest of evaluate, for reference and champion.
        evaluate: Settings and digest of evaluate, for the trials.
        report: Settings and digest of report.
        promote: Settings and digest of promote.
        reward: Settings and digest of reward; empty when no reward model is trained.
        baselines: The reference, and the champion where there is one.
        trials: The trials, as the loop takes them.
    """
    from copg.config import parse_config
    from copg.run.resolve import ResolveConfig, resolve_recipe
    from copg.run.task_record import recorded

    recipe = {
        "name": name,
        "records": records,
        "model": model,
        "revision": revision or None,
        "rewards": rewards,
        "trials": trials,
        "stages": settings,
        "tracking": tracking,
    }
    config = {"recipe": recipe, "run_dir": run_dir, "tasks_at_once": tasks_at_once}
    with recorded("resolve", {"key": "always"}, run_dir):
        found = resolve_recipe(parse_config(ResolveConfig, config, where="resolve"))
    stages = ("validate", "score", "reference", "train", "baseline", "evaluate", "report", "promote")
    plans = [found.plans[stage] for stage in stages]
    return (*plans, found.plans.get("reward", {}), found.baselines, found.trials)
