"""What the pod of a task gets on Kubernetes: one entry of a recipe's ``placement``."""

import re
from dataclasses import field
from typing import Any, Literal

from copg.config import AtLeastOne, Natural, NotNegative, configuration

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
MEMORY = re.compile(r"(\d+)(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?")
CPU = re.compile(r"(\d*\.)?\d+m?")
SCALES: dict[str, int] = {
    unit + suffix: base**power
    for suffix, base in (("", 1000), ("i", 1024))
    for power, unit in enumerate("KMGTPE", 1)
}


def memory_bytes(quantity: str) -> int:
    """Bytes of ``8Gi``; 0 of an empty one."""
    if not quantity:
        return 0
    found = MEMORY.fullmatch(quantity)
    if not found:
        raise ValueError(f"memory={quantity!r} must be a whole number with a unit such as 512Mi, 8Gi or 1T")
    return int(found[1]) * SCALES.get(found[2] or "", 1)


def cpu_cores(quantity: str) -> float:
    """Cores of ``500m`` or ``2``; 0 of an empty one."""
    if not quantity:
        return 0.0
    if not CPU.fullmatch(quantity):
        raise ValueError(f"cpu={quantity!r} must be a number of cores such as 2, 0.5 or 500m")
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def whole_seconds(amount: float, each_s: int) -> int:
    """Seconds of so many hours or days; less than one counts as one, since 0 would set no limit.

    Args:
        amount: of hours or days; 0 stays 0.
        each_s: seconds of one of them.
    """
    return max(1, round(amount * each_s)) if amount else 0


def check_names(what: str, *names: str) -> None:
    """Refuse what Kubernetes would not take as the name of a resource."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{what}={name!r} must be lower-case letters, digits, '-' and '.'")


@configuration
class GpuConfig:
    """Accelerators of one pod."""

    count: Natural = 0
    """More than one: ``train`` starts as many processes."""
    type: str = "nvidia.com/gpu"
    """Resource name of the device plugin; a slice of a card is one too (``nvidia.com/mig-1g.10gb``)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9._-]+", self.type):
            raise ValueError(f"gpu.type={self.type!r} must be a resource name such as nvidia.com/gpu")


@configuration
class RangeConfig:
    """What a pod is scheduled by, and what it may not exceed."""

    request: str | int | float = ""
    """What a node must have free; empty: Kubernetes' own."""
    limit: str | int | float = ""
    """What ends the pod, or slows it down; empty: none."""


@configuration
class TolerationConfig:
    """A taint of nodes that a pod puts up with, such as that of spot machines."""

    key: str = ""
    """Of the taint; empty, with ``Exists``: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the taint's value counts."""
    value: str = ""
    """Of the taint, with ``Equal``."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Empty: all."""
    seconds: int | None = None
    """How long a pod stays on a node that gets a ``NoExecute`` taint; None: for ever."""

    def __post_init__(self) -> None:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"toleration of {self.key!r}: 'Exists' takes no value, found {self.value!r}")
        if self.operator == "Equal" and not self.key:
            raise ValueError("toleration without a key: only operator 'Exists' may leave it out")


@configuration
class RetryConfig:
    """How often a task whose pod was lost is started again; a mistake ends it after one ``backoff_s``.

    Which is which the workflow controller says: ``manifests/workflow-controller``.
    """

    count: Natural = 5
    """0: one attempt."""
    backoff_s: Natural = 20
    """Before the first new attempt; then ``factor`` times as long each time."""
    factor: AtLeastOne = 2
    """Whole: Argo cannot read 1.5, and the run's later tasks die of it."""
    within_days: float = 14.0
    """No new attempt later than this after the first one STARTED: one hour unless set, which a task that
    trained for two would have used up."""

    policy: Literal["", "Always", "OnError", "OnFailure", "OnTransientError"] = ""
    """Which ends of a pod are tried again, where a release of kfp can say it (none yet); empty: OnError."""

    def __post_init__(self) -> None:
        if self.count and self.within_days < 1:
            raise ValueError(
                f"retry.within_days={self.within_days:g} must be >= 1: it counts from the first attempt's "
                "start, so a task that ran for longer is never tried again"
            )


@configuration
class TaskConfig:
    """The pod of a task."""

    cpu: RangeConfig = field(default_factory=lambda: RangeConfig(request="1", limit="2"))
    memory: RangeConfig = field(default_factory=lambda: RangeConfig(request="2Gi", limit="8Gi"))
    gpu: GpuConfig = field(default_factory=GpuConfig)
    shm: str = ""
    """Size of ``/dev/shm``, which counts towards the memory limit; empty: the 64 MiB of the runtime."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: list[TolerationConfig] = field(default_factory=list)
    retry: RetryConfig = field(default_factory=RetryConfig)
    timeout_hours: NotNegative = 0.0
    """Of one attempt, in whole seconds; 0: none."""
    queue: str = ""
    """Kueue's LocalQueue; empty: the pod does not wait in one."""
    priority: str = ""
    """Kueue's WorkloadPriorityClass, within the queue."""
    nodes: AtLeastOne = 1
    """Of ``train`` alone: pods of this kind that train together, as a Kubeflow TrainJob. What these pods are
    is an input of the task, and so part of what KFP's cache goes by: another toleration trains again."""

    def __post_init__(self) -> None:
        self._check_range("cpu", cpu_cores)
        self._check_range("memory", memory_bytes)
        self._check_shm()
        check_names("queue", *filter(None, [self.queue, self.priority]))
        if self.priority and not self.queue:
            raise ValueError(
                f"priority={self.priority!r} needs a queue: KFP 2.17 cannot set a pod's priorityClassName; "
                "without Kueue set podPriorityClassName in the workflow controller's workflowDefaults"
            )
        hours = self.timeout_hours
        if hours and self.retry.count and hours >= 24 * self.retry.within_days:
            raise ValueError(
                f"retry.within_days={self.retry.within_days:g} is over before timeout_hours={hours:g} of the "
                "first attempt are: it would never be tried again"
            )

    def _check_range(self, name: str, parse: Any) -> None:
        values = getattr(self, name)
        request, limit = (parse(str(value)) for value in (values.request, values.limit))
        if not limit:
            raise ValueError(f"{name}.limit is missing: one task could take a whole node")
        if request > limit:
            raise ValueError(f"{name}.request={values.request} is over {name}.limit={values.limit}")

    def _check_shm(self) -> None:
        size, limit = memory_bytes(self.shm), memory_bytes(str(self.memory.limit))
        if size >= limit:
            raise ValueError(
                f"shm={self.shm} does not fit in memory.limit={self.memory.limit}: it counts in it"
            )
        if self.gpu.count > 1 and not size:
            raise ValueError(
                f"gpu.count={self.gpu.count} needs shm, such as 8Gi: processes of one pod talk through "
                "/dev/shm, and 64 MiB of it end in a bus error"
            )
