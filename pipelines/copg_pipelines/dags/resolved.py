"""What every DAG of a recipe begins with: its parameters, and ``resolve``, which makes plans of them."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from copg_components.resolve import resolve
from kfp import dsl

from copg_pipelines.dags.compiling import takes

PARAMETERS = {
    name: each
    for name, each in inspect.signature(resolve.python_func).parameters.items()
    if name not in ("plans", "again")
}
"""Those of ``resolve``, but for what a DAG itself tells it."""


def build_resolved(
    place: Callable[[Any], Any],
    follow: Callable[[Mapping[str, Any], Any, Any], None],
    *,
    name: str,
    title: str,
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
        title: of the pipeline, for people.
        description: of the pipeline, for who sees it on a server.
        pipeline_config: limits of a whole run.
        around: called with ``run_dir``; all tasks stand within what it gives.
        told: to ``resolve``, beside the parameters: ``plans`` or ``again``.
    """

    @dsl.pipeline(name=name, display_name=title, description=description, pipeline_config=pipeline_config)
    @takes(PARAMETERS.values(), resolve.python_func.__doc__)
    def dag(given: dict[str, Any]) -> None:
        with around(given["run_dir"]):
            resolved = place(resolve(**given, **told)).set_caching_options(enable_caching=False)
            resolved.set_display_name("Check the recipe and what it names")
            follow(resolved.outputs, given["records"], given["run_dir"])

    return dag
