"""A recipe's placement, ready to be applied: to the tasks of a DAG, and to the recipe's own paths."""

import re
from dataclasses import replace
from typing import Any

from kfp import dsl

from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg_pipelines.placement.config import PlacementConfig
from copg_pipelines.placement.pod import describe_pod, watching_task
from copg_pipelines.placement.task import place_task
from copg_pipelines.placement.train_job import describe_train_job

SHARD = re.compile(r"-shard$")


class Placement:
    """What the tasks of a DAG get."""

    def __init__(self, config: PlacementConfig, image: str) -> None:
        """Nothing is placed yet.

        Args:
            config: from the recipe.
            image: of every task.
        """
        self.config, self.image = config, image

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a task its pod; one that trains on nodes of their own only watches them."""
        stage = SHARD.sub("", task.component_spec.name)
        settings = self.config.task(stage)
        if settings.nodes > 1:
            settings = watching_task(self.config, stage)
        return place_task(task, describe_pod(self.config, settings, self.image), settings.retry)

    def train_job(self) -> dict[str, Any]:
        """The TrainJob of a training over several nodes, without name and command; empty for one node.

        Raises:
            ConfigError: the placement says what no TrainJob can have.
        """
        settings = self.config.task("train")
        if settings.nodes == 1:
            return {}
        return describe_train_job(describe_pod(self.config, settings, self.image))

    def pipeline_config(self) -> dsl.PipelineConfig:
        """Limits of a whole run."""
        run = self.config.run
        return dsl.PipelineConfig(
            ttl_seconds_after_finished=round(86400 * run.keep_days) or None,
            active_deadline_seconds=round(3600 * run.timeout_hours) or None,
        )


def placed(recipe: Recipe, config: PlacementConfig) -> Recipe:
    """The recipe with paths, stores and tracking as the pods see them.

    Raises:
        ConfigError: a path is relative, which no pod can follow.
    """
    stages = {stage: dict(settings) for stage, settings in recipe.stages.items()}
    stores = config.stores
    for stage, name, store in (
        ("score", "store", stores.rewards),
        ("reference", "store", stores.references),
        ("promote", "champions", stores.champions),
    ):
        if store:
            stages[stage] = {name: store, **stages.get(stage, {})}
    if stores.checkpoints:
        train = stages.setdefault("train", {})
        train["checkpoint"] = {"folder": stores.checkpoints, **(train.get("checkpoint") or {})}
    if not recipe.trains_reward:
        stages.pop("reward", None)  # no task of the DAG reads it
    values = {"records": recipe.records, "model": recipe.model, "rewards": recipe.rewards, "stages": stages}
    there = {key: _moved(value, config.paths, key) for key, value in values.items()}
    return replace(recipe, tracking=recipe.tracking or stores.tracking, **there)


def _moved(value: Any, paths: dict[str, str], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _moved(item, paths, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, paths, key) for item in value]
    if not isinstance(value, str):
        return value
    for start, there in paths.items():
        if value == start or value.startswith(f"{start.rstrip('/')}/"):
            return there + value.removeprefix(start.rstrip("/"))
    if value.startswith(("./", "../")):
        raise ConfigError(
            f"{key}={value!r} is relative, and a pod has no such folder: give an absolute path or a URL, or "
            "say under placement.paths where it lies, such as {../../runs: /runs}"
        )
    return value
