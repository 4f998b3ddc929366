"""The pod of a task, described once: ``task`` says it to KFP, ``train_job`` to Kubeflow Trainer."""

from dataclasses import dataclass, fields, replace

from copg_components._object_store import ENDPOINT

from copg_pipelines.placement.config import (
    ImageConfig,
    PlacementConfig,
    SecretConfig,
    SecurityConfig,
    VolumeConfig,
)
from copg_pipelines.placement.pod_config import (
    GpuConfig,
    RangeConfig,
    TaskConfig,
    TolerationConfig,
    cpu_cores,
    whole_seconds,
)

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
PART_OF = {"app.kubernetes.io/part-of": "copg"}


@dataclass(frozen=True, kw_only=True)
class Pod:
    """What a recipe says about one pod: a renderer says every field of it, or refuses the recipe."""

    image: ImageConfig
    environment: dict[str, str]
    volumes: list[VolumeConfig]
    secrets: list[SecretConfig]
    security: SecurityConfig
    cpu: RangeConfig
    memory: RangeConfig
    gpu: GpuConfig
    shm: str
    node_selector: dict[str, str]
    tolerations: list[TolerationConfig]
    timeout_hours: float
    queue: str
    priority: str
    nodes: int

    @property
    def labels(self) -> dict[str, str]:
        """Whose the pod is, and where it queues."""
        queue = {name: value for name, value in ((QUEUE, self.queue), (PRIORITY, self.priority)) if value}
        return {**PART_OF, **queue}

    @property
    def deadline_s(self) -> int:
        """Seconds that the pod may run; 0: for ever."""
        return whole_seconds(self.timeout_hours, 3600)


def describe_pod(config: PlacementConfig, task: TaskConfig, image: str) -> Pod:
    """The pod of a task.

    Args:
        config: the placement of a recipe.
        task: of a stage, as the placement has it.
        image: of every task.
    """
    minio = config.stores.minio
    endpoint = {ENDPOINT: minio.endpoint} if minio.endpoint else {}
    machine = {each.name: getattr(task, each.name) for each in fields(TaskConfig) if each.name != "retry"}
    return Pod(
        image=replace(config.image, name=image),
        environment={**endpoint, **config.environment},
        volumes=config.volumes,
        secrets=[*config.secrets, *minio.secrets],
        security=config.security,
        **machine,
    )


def watching_task(config: PlacementConfig, stage: str) -> TaskConfig:
    """What a task gets that runs its stage on other pods: its retries and time, and no GPU and no queue.

    It holds little of a processor, of which those pods may need the rest; it may use what others may.
    """
    task, cpu = config.task(stage), config.defaults.cpu
    held = min(("100m", cpu.limit), key=lambda quantity: cpu_cores(str(quantity)))
    watching = replace(config.defaults, gpu=GpuConfig(), shm="", queue="", priority="")
    cpu = RangeConfig(request=held, limit=cpu.limit)
    return replace(watching, cpu=cpu, retry=task.retry, timeout_hours=task.timeout_hours)
