"""The DAGs by name: a DAG is its file, and its line of ``DAGS``."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from copg.errors import ConfigError

DAGS = {
    "align": "copg_pipelines.dags.align",
}
"""The module of each DAG: its function ``build`` takes a ``Shape`` and returns the pipeline."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a DAG is built with; a DAG leaves aside what none of its tasks has a use for."""

    place: Callable[[Any], Any] = lambda task: task
    """Gives a task its image, and on a cluster its machine; called once with every task."""
    loops_at_once: int | None = None
    """Tasks of one loop that run at the same time; None leaves it to the backend."""
    num_shards: int = 1
    """Tasks that fill the stores of rewards and reference log-probabilities at the same time."""
    trains_reward: bool = False
    """First train a reward model on the records' preferences, for score and all that follows."""
    samples: bool = False
    """First draw the completions that the records lack."""
    train_job: dict[str, Any] | None = None
    """What a training over several nodes is made of; empty trains in the task itself."""
    pipeline_config: Any = None
    """Limits of a whole run: a ``dsl.PipelineConfig``."""


def plans_of(name: str) -> list[str]:
    """Plans whose tasks a DAG has: ``PLANS`` in its module; empty for all of the table of stages."""
    return list(getattr(_module(name), "PLANS", ()))


def build_dag(name: str, shape: Shape) -> Any:
    """The pipeline of a DAG; its module is loaded when it is asked for.

    Raises:
        ConfigError: there is no such DAG.
    """
    return _module(name).build(shape)


def _module(name: str) -> Any:
    if name not in DAGS:
        raise ConfigError(f"dag={name!r} is unknown; use one of {sorted(DAGS)}")
    return import_module(DAGS[name])
