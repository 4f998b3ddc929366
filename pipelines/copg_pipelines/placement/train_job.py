"""Says to Kubeflow Trainer what the pods of a training over several nodes are: a TrainJob without a name."""

from dataclasses import asdict
from typing import Any

from copg.errors import ConfigError
from copg_pipelines.placement.pod import Pod

RUNTIME = "copg-torchrun"
"""The TrainingRuntime in whose pods a training over several nodes runs."""


def describe_train_job(pod: Pod) -> dict[str, Any]:
    """A TrainJob, without name and command.

    Raises:
        ConfigError: the pod is one that a TrainJob cannot have.
    """
    if pod.image.pull_policy:
        raise ConfigError(
            f"placement.image.pull_policy={pod.image.pull_policy!r}: a TrainJob, which nodes={pod.nodes} "
            "takes, cannot say it; leave it out and name the image by its digest"
        )
    trainer = {
        "image": pod.image.name,
        "numNodes": pod.nodes,
        "numProcPerNode": max(1, pod.gpu.count),
        "resourcesPerNode": _resources(pod),
        "env": _environment(pod),
    }
    spec = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": trainer,
        "runtimePatches": [_patch(_pod_spec(pod))],
    }
    if pod.deadline_s:
        spec["activeDeadlineSeconds"] = pod.deadline_s
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"labels": pod.labels},
        "spec": spec,
    }


def _environment(pod: Pod) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": value} for name, value in sorted(pod.environment.items())]
    secret = [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": each.name, "key": key, "optional": each.optional}},
        }
        for each in pod.secrets
        for key, variable in each.variable_of.items()
    ]
    return plain + secret


def _pod_spec(pod: Pod) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for number, volume in enumerate(pod.volumes):
        name = f"volume-{number}"
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume.claim}})
        # an empty field is dropped by whoever writes the job again, as Kueue does, and then it has changed
        below = {"subPath": volume.sub_path} if volume.sub_path else {}
        mounts.append({"name": name, "mountPath": volume.path, **below})
    if pod.shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shm}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    spec: dict[str, Any] = {
        "volumes": volumes,
        "containers": [{"name": "node", "volumeMounts": mounts}],  # its rights are the runtime's
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": pod.security.user,
            "runAsGroup": pod.security.group,
            "fsGroup": pod.security.group,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if pod.image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pod.image.pull_secrets]
    if pod.node_selector:
        spec["nodeSelector"] = pod.node_selector
    if pod.tolerations:
        spec["tolerations"] = [_toleration(taint) for taint in map(asdict, pod.tolerations)]
    return spec


def _resources(pod: Pod) -> dict[str, dict[str, str]]:
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
