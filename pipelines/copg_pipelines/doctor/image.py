"""Whether a cluster can start a pod of an image, found by starting one."""

import time
import uuid
from collections.abc import Iterator

from kubernetes.client.exceptions import ApiException

from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, Needs, get, why

START_S, PULL_S = 120.0, 600.0
"""How long a pod may wait for a node, and how long its image may then take to be pulled and to end."""
PULLING = ("ContainerCreating", "Pulling", "PodInitializing")
NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def check_image(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    """Start a pod of the image, as the tasks start, and delete it."""
    if not needs.image:
        yield note("image", "not pulled: name one with --image")
        return
    name = f"copg-doctor-{uuid.uuid4().hex[:8]}"
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "copg"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "imagePullSecrets": [{"name": name} for name in needs.pull_secrets],
            "containers": [
                {
                    "name": "pull",
                    "image": needs.image,
                    "imagePullPolicy": needs.pull_policy or None,
                    "command": ["python3", "-c", "import copg; print(copg.__version__)"],
                    "securityContext": security,
                    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                }
            ],
        },
    }
    try:
        cluster.core.create_namespaced_pod(needs.namespace, pod, _request_timeout=TIMEOUT_S)
    except ApiException as error:
        yield todo("image", f"no pod may start in {needs.namespace}: {why(error)}")
        return
    try:
        yield _pulled(cluster, name, needs)
    finally:
        get(cluster.core.delete_namespaced_pod, name, needs.namespace)


def _pulled(cluster: Cluster, pod: str, needs: Needs) -> Finding:
    began, patience, reason = time.monotonic(), START_S, "Pending"
    while time.monotonic() < began + patience:
        found = cluster.core.read_namespaced_pod(pod, needs.namespace, _request_timeout=TIMEOUT_S)
        if found.status.phase == "Succeeded":
            return ok("image", f"{needs.image} starts in {needs.namespace}")
        if found.status.phase == "Failed":
            return todo("image", f"{needs.image} was pulled but copg does not load in it: build it anew")
        for each in found.status.container_statuses or []:
            waiting = each.state.waiting
            reason = waiting.reason if waiting and waiting.reason else found.status.phase
            patience = PULL_S if reason in PULLING or found.status.phase == "Running" else patience
            if reason in NOT_PULLED:
                return todo(
                    "image",
                    f"{needs.image} cannot be pulled ({reason}): check its name, and the registry's "
                    "credentials (placement.image.pull_secrets); on kind: kind load docker-image",
                )
        time.sleep(min(1.0, START_S / 10))
    return todo("image", f"{needs.image} did not start within {patience:g} s ({reason}): kubectl get events")
