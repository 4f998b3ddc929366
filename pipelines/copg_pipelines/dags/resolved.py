"""What every DAG of a recipe begins with: its ten parameters, and ``resolve``, which makes plans of them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from copg_components.resolve import resolve
from kfp import dsl


def build_resolved(
    place: Callable[[Any], Any],
    follow: Callable[[Mapping[str, Any], Any, Any], None],
    *,
    name: str,
    description: str,
    pipeline_config: Any = None,
    around: Callable[[Any], AbstractContextManager[Any]] = lambda run_dir: nullcontext(),
    **told: Any,
) -> Any:
    """A DAG that takes the parameters of a recipe.

    Args:
        place: called once with every task.
        follow: adds what comes after ``resolve``; it gets the plans, ``records`` and ``run_dir``.
        name: of the pipeline.
        description: of the pipeline, for who sees it on a server.
        pipeline_config: limits of a whole run.
        around: called with ``run_dir``; all tasks stand within what it gives.
        told: to ``resolve``, beside the parameters: ``plans`` or ``again``.
    """

    @dsl.pipeline(name=name, description=description, pipeline_config=pipeline_config)
    def dag(
        name: str,
        records: str,
        model: str,
        trials: list,
        rewards: list,
        run_dir: str,
        settings: dict = {},  # noqa: B006 - the default of a pipeline parameter
        revision: str = "",
        tracking: str = "",
        tasks_at_once: int = 0,
    ) -> None:
        """Resolve a recipe, and do what it asks for.

        Args:
            name: Of the registered model and the experiment.
            records: File, folder or data set of records.
            model: Reference model: directory or hub name.
            trials: One training each, with method and beta.
            rewards: Rewards with weights and settings.
            run_dir: Stable directory of the runs; the same for every run of a recipe.
            settings: Settings of the stages, by stage.
            revision: Of the model on the hub; empty for its main branch.
            tracking: MLflow server or database; empty for a file under run_dir.
            tasks_at_once: Trials that share one machine; 0 when each task has its own.
        """
        with around(run_dir):
            resolved = place(
                resolve(
                    name=name,
                    records=records,
                    model=model,
                    revision=revision,
                    rewards=rewards,
                    trials=trials,
                    settings=settings,
                    tracking=tracking,
                    run_dir=run_dir,
                    tasks_at_once=tasks_at_once,
                    **told,
                )
            ).set_caching_options(enable_caching=False)
            follow(resolved.outputs, records, run_dir)

    return dag
