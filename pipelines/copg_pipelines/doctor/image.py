"""Whether a cluster can start a pod of an image, and what it reaches: found by starting one."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from kubernetes.client.exceptions import ApiException

from copg_pipelines.doctor.doors import command_of, find_doors, read_doors
from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, get, why
from copg_pipelines.doctor.requirements import Requirements

PULLING = ("ContainerCreating", "Pulling", "PodInitializing")
ISTIO = "sidecar.istio.io/inject"
NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def check_image(
    cluster: Cluster, asked: Requirements, *, start_s: float = 120.0, pull_s: float = 600.0
) -> Iterator[Finding]:
    """Start a pod of the image, as the tasks start, try the doors that they need from it, and delete it.

    Args:
        cluster: where.
        asked: names the image.
        start_s: how long the pod may wait for a node, in seconds.
        pull_s: how long the image may take to be pulled and the pod to end, in seconds.
    """
    if not asked.image.name:
        yield note("image", "not pulled, and no door tried from a pod: name one with --image")
        return
    name, doors = f"copg-doctor-{uuid.uuid4().hex[:8]}", find_doors(cluster, asked)
    try:
        pod = _pod(name, asked, command_of(doors))
        cluster.core.create_namespaced_pod(asked.namespace, pod, _request_timeout=TIMEOUT_S)
    except ApiException as error:
        yield todo("image", f"no pod may start in {asked.namespace}: {why(error)}")
        return
    try:
        started = _pulled(cluster, name, asked, start_s, pull_s)
        yield started
        if started.well:
            yield from read_doors(cluster, doors, _log(cluster, name, asked))
    finally:
        get(cluster.core.delete_namespaced_pod, name, asked.namespace)


def _pod(name: str, asked: Requirements, command: list[str]) -> dict[str, Any]:
    """Restricted as tasks are, with their label, by which network policies select, and without a sidecar."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/part-of": "copg", ISTIO: "false"},
            "annotations": {ISTIO: "false"},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "imagePullSecrets": [{"name": secret} for secret in asked.image.pull_secrets],
            "containers": [
                {
                    "name": "pull",
                    "image": asked.image.name,
                    "imagePullPolicy": asked.image.pull_policy or None,
                    "command": command,
                    "securityContext": security,
                    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                }
            ],
        },
    }


def _log(cluster: Cluster, pod: str, asked: Requirements) -> str:
    return str(cluster.core.read_namespaced_pod_log(pod, asked.namespace, _request_timeout=TIMEOUT_S))


def _pulled(cluster: Cluster, pod: str, asked: Requirements, start_s: float, pull_s: float) -> Finding:
    image = asked.image.name
    began, patience, reason = time.monotonic(), start_s, "Pending"
    while time.monotonic() < began + patience:
        found = cluster.core.read_namespaced_pod(pod, asked.namespace, _request_timeout=TIMEOUT_S)
        if found.status.phase == "Succeeded":
            return ok("image", f"{image} starts in {asked.namespace}")
        if found.status.phase == "Failed":
            return todo("image", f"{image} was pulled but copg does not load in it: build it anew")
        for each in found.status.container_statuses or []:
            waiting = each.state.waiting
            reason = waiting.reason if waiting and waiting.reason else found.status.phase
            patience = pull_s if reason in PULLING or found.status.phase == "Running" else patience
            if reason in NOT_PULLED:
                return todo(
                    "image",
                    f"{image} cannot be pulled ({reason}): check its name, and the registry's "
                    "credentials (placement.image.pull_secrets); on kind: kind load docker-image",
                )
        time.sleep(min(1.0, start_s / 10))
    return todo("image", f"{image} did not start within {patience:g} s ({reason}): kubectl get events")
