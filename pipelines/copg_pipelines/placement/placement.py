"""A recipe's placement, ready to be applied to the tasks of a DAG."""

import re
from typing import Any

from kfp import dsl

from copg_pipelines.placement.config import PlacementConfig
from copg_pipelines.placement.pod import describe_pod, watching_task
from copg_pipelines.placement.pod_config import whole_seconds
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
        # all three: where the run leaves one out, the controller's own holds, an hour
        stay = whole_seconds(run.keep_days, 86400) or None
        return dsl.PipelineConfig(
            ttl_seconds_after_finished=stay,
            ttl_seconds_after_success=stay,
            ttl_seconds_after_failure=stay,
            active_deadline_seconds=whole_seconds(run.timeout_hours, 3600) or None,
        )
