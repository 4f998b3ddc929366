"""Puts tasks on Kubernetes: the one file that knows which of its fields KFP can set, and what a node gets.

Everything is set when the DAG is compiled: a resource that a pipeline parameter sets inside a loop or an exit
handler compiles to a DAG that no server runs.
"""

import re
from dataclasses import asdict, replace
from typing import Any

from kfp import dsl, kubernetes

from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg_pipelines.placement.config import PlacementConfig
from copg_pipelines.placement.pod_config import GpuConfig, TaskConfig

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
PART_OF = {"app.kubernetes.io/part-of": "copg"}
SHARD = re.compile(r"-shard$")
RUNTIME = "copg-torchrun"
"""The TrainingRuntime in whose pods a training over several nodes runs."""


class Placement:
    """A recipe's placement, ready to be applied to the tasks of a DAG."""

    def __init__(self, config: PlacementConfig, image: str) -> None:
        """Nothing is placed yet.

        Args:
            config: from the recipe.
            image: of every task.
        """
        self.config, self.image = config, image

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a task its image, machine, volumes, secrets and retries."""
        pod = self._pod(SHARD.sub("", task.component_spec.name))
        task.set_container_image(self.image)
        for name, value in sorted(self.config.environment.items()):
            task.set_env_variable(name, value)
        self._give_resources(task, pod)
        self._give_storage(task, pod)
        self._give_identity(task)
        self._schedule(task, pod)
        return task

    def _pod(self, stage: str) -> TaskConfig:
        """What a task of a stage gets; one that trains on nodes of their own only watches them."""
        pod = self.config.task(stage)
        if pod.nodes == 1:
            return pod
        watching = replace(self.config.defaults, gpu=GpuConfig(), shm="", queue="", priority="")
        return replace(watching, retry=pod.retry, timeout_hours=pod.timeout_hours)

    def _give_resources(self, task: dsl.PipelineTask, pod: TaskConfig) -> None:
        for value, give in (
            (pod.cpu.request, task.set_cpu_request),
            (pod.cpu.limit, task.set_cpu_limit),
            (pod.memory.request, task.set_memory_request),
            (pod.memory.limit, task.set_memory_limit),
        ):
            if value != "":
                give(str(value))
        if pod.gpu.count:
            task.set_accelerator_type(pod.gpu.type).set_accelerator_limit(pod.gpu.count)

    def _give_storage(self, task: dsl.PipelineTask, pod: TaskConfig) -> None:
        if pod.shm:
            kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=pod.shm)
        for volume in self.config.volumes:
            kubernetes.mount_pvc(task, volume.claim, volume.path, volume.sub_path)

    def _give_identity(self, task: dsl.PipelineTask) -> None:
        security, image = self.config.security, self.config.image
        kubernetes.set_security_context(
            task, run_as_user=security.user, run_as_group=security.group, run_as_non_root=True
        )
        for secret in self.config.secrets:
            keys = {key: key for key in secret.keys}
            kubernetes.use_secret_as_env(task, secret.name, keys, optional=secret.optional)
        if image.pull_policy:
            kubernetes.set_image_pull_policy(task, image.pull_policy)
        if image.pull_secrets:
            kubernetes.set_image_pull_secrets(task, image.pull_secrets)

    def _schedule(self, task: dsl.PipelineTask, pod: TaskConfig) -> None:
        for name, value in {**PART_OF, **_queue_labels(pod)}.items():
            kubernetes.add_pod_label(task, name, value)
        for name, value in sorted(pod.node_selector.items()):
            kubernetes.add_node_selector(task, name, value)
        for taint in pod.tolerations:
            kubernetes.add_toleration(
                task,
                key=taint.key or None,
                operator=taint.operator,
                value=taint.value or None,
                effect=taint.effect or None,
                toleration_seconds=taint.seconds,
            )
        if pod.timeout_hours:
            kubernetes.set_timeout(task, round(3600 * pod.timeout_hours))
        if pod.retry.count:
            task.set_retry(
                pod.retry.count,
                backoff_duration=f"{pod.retry.backoff_s}s",
                backoff_factor=pod.retry.factor,
                backoff_max_duration=f"{round(86400 * pod.retry.within_days)}s",
            )

    def pipeline_config(self) -> dsl.PipelineConfig:
        """Limits of a whole run."""
        run = self.config.run
        return dsl.PipelineConfig(
            ttl_seconds_after_finished=round(86400 * run.keep_days) or None,
            active_deadline_seconds=round(3600 * run.timeout_hours) or None,
        )

    def train_job(self) -> dict[str, Any]:
        """The TrainJob of a training over several nodes, without name and command; empty for one node."""
        pod = self.config.task("train")
        if pod.nodes == 1:
            return {}
        trainer = {
            "image": self.image,
            "numNodes": pod.nodes,
            "numProcPerNode": max(1, pod.gpu.count),
            "resourcesPerNode": _resources(pod),
            "env": self._environment(),
        }
        spec = {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": trainer,
            "runtimePatches": [_patch(self._pod_spec(pod))],
        }
        if pod.timeout_hours:
            spec["activeDeadlineSeconds"] = round(3600 * pod.timeout_hours)
        return {
            "apiVersion": "trainer.kubeflow.org/v1alpha1",
            "kind": "TrainJob",
            "metadata": {"labels": {**PART_OF, **_queue_labels(pod)}},
            "spec": spec,
        }

    def _environment(self) -> list[dict[str, Any]]:
        plain = [{"name": name, "value": value} for name, value in sorted(self.config.environment.items())]
        secret = [
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": each.name, "key": key, "optional": each.optional}},
            }
            for each in self.config.secrets
            for key in each.keys
        ]
        return plain + secret

    def _pod_spec(self, pod: TaskConfig) -> dict[str, Any]:
        volumes: list[dict[str, Any]] = []
        mounts: list[dict[str, Any]] = []
        for number, volume in enumerate(self.config.volumes):
            name = f"volume-{number}"
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume.claim}})
            mounts.append({"name": name, "mountPath": volume.path, "subPath": volume.sub_path})
        if pod.shm:
            volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shm}})
            mounts.append({"name": "shm", "mountPath": "/dev/shm"})
        security = self.config.security
        spec: dict[str, Any] = {
            "volumes": volumes,
            "containers": [{"name": "node", "volumeMounts": mounts}],  # its rights are the runtime's
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": security.user,
                "runAsGroup": security.group,
                "fsGroup": security.group,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        if self.config.image.pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in self.config.image.pull_secrets]
        if pod.node_selector:
            spec["nodeSelector"] = pod.node_selector
        if pod.tolerations:
            spec["tolerations"] = [_toleration(taint) for taint in map(asdict, pod.tolerations)]
        return spec


def _queue_labels(pod: TaskConfig) -> dict[str, str]:
    return {name: value for name, value in ((QUEUE, pod.queue), (PRIORITY, pod.priority)) if value}


def _resources(pod: TaskConfig) -> dict[str, dict[str, str]]:
    limits = {"cpu": str(pod.cpu.limit), "memory": str(pod.memory.limit)}
    requests = {"cpu": str(pod.cpu.request), "memory": str(pod.memory.request)}
    if pod.gpu.count:
        limits[pod.gpu.type] = str(pod.gpu.count)
    return {"limits": limits, "requests": {name: value for name, value in requests.items() if value}}


def _toleration(taint: dict[str, Any]) -> dict[str, Any]:
    renamed = {**taint, "tolerationSeconds": taint.pop("seconds")}
    return {name: value for name, value in renamed.items() if value not in ("", None) and name != "seconds"}


def _patch(pod_spec: dict[str, Any]) -> dict[str, Any]:
    """The pods of the runtime's replicated job ``node``, patched."""
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod_spec}}}}
    template = {"spec": {"replicatedJobs": [job]}}
    return {"manager": "copg/train", "trainingRuntimeSpec": {"template": template}}


def placed(recipe: Recipe, config: PlacementConfig) -> Recipe:
    """The recipe with paths, stores and tracking as the pods see them.

    Raises:
        ConfigError: a path is relative, which no pod can follow.
    """
    stages = {stage: dict(settings) for stage, settings in recipe.stages.items()}
    stores = config.stores
    for stage, name, store in (("score", "store", stores.rewards), ("reference", "store", stores.references)):
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
