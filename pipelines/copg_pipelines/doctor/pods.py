"""The pods and the workflow of one run, where a kube context is at hand."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client as k8s

from copg.errors import ConfigError
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, connect_cluster, get, why
from copg_pipelines.server.at_hand import RunPods
from copg_pipelines.server.packed import told_nodes, waiting_nodes

OF_WORKFLOW, OF_NODE = "workflows.argoproj.io/workflow", "workflows.argoproj.io/node-id"
"""Label and annotation that Argo gives a pod."""
Answer = TypeVar("Answer")
NO_LOG = "unable to retrieve container logs for "
"""What a kubelet answers, in place of the log of a container that its runtime has dropped."""
NO_NEWS = ("PodInitializing", "ContainerCreating")
"""What a container waits for in the ordinary way."""


def look_at_pods(context: str, namespace: str, workflow: str) -> RunPods | None:
    """What a cluster tells of a run; None where none is at hand.

    Args:
        context: kube context; empty: the current one.
        namespace: of the run.
        workflow: its name.

    Raises:
        ConfigError: the context was named and cannot be asked.
    """

    def look(cluster: Cluster) -> RunPods:
        found = _workflow(cluster, namespace, workflow)
        if found is None:
            return RunPods(gone=True)
        # a pod that is there knows best; of one that cannot even be made, the workflow has the API's words
        told = {node: _line("", said) for node, said in waiting_nodes(found).items() if said not in NO_NEWS}
        return RunPods(gone=False, waiting={**told, **_waiting(cluster, namespace, workflow)})

    return _ask(context, look)


def log_of_pod(context: str, namespace: str, node: str) -> str | None:
    """What the task of a pod that is still there has written; None where there is none.

    Args:
        context: kube context; empty: the current one.
        namespace: of the run.
        node: id of the pod's node.

    Raises:
        ConfigError: the context was named and cannot be asked.
    """

    def read(cluster: Cluster) -> str | None:
        labels = f"{OF_WORKFLOW}={node.rpartition('-')[0]}"
        pods = cluster.core.list_namespaced_pod(namespace, label_selector=labels, _request_timeout=TIMEOUT_S)
        name = next((each.metadata.name for each in pods.items if _node_of(each) == node), None)
        if name is None:
            return None
        text = cluster.core.read_namespaced_pod_log(
            name, namespace, container="main", _request_timeout=TIMEOUT_S
        )
        return None if str(text).startswith(NO_LOG) else str(text)

    return _ask(context, read)


def nodes_of_workflow(context: str, namespace: str, workflow: str) -> list[Any] | None:
    """The nodes of a run as the cluster has them, in the form of KFP's API; None where it is not there.

    Args:
        context: kube context; empty: the current one.
        namespace: of the run.
        workflow: its name.

    Raises:
        ConfigError: the context was named and cannot be asked.
    """

    def read(cluster: Cluster) -> list[Any] | None:
        found = _workflow(cluster, namespace, workflow)
        return None if found is None else told_nodes(found)

    return _ask(context, read)


def _workflow(cluster: Cluster, namespace: str, name: str) -> Any | None:
    custom = k8s.CustomObjectsApi(cluster.core.api_client).get_namespaced_custom_object
    return get(custom, "argoproj.io", "v1alpha1", namespace, "workflows", name)


def _ask(context: str, question: Callable[[Cluster], Answer | None]) -> Answer | None:
    """What a cluster answers; None where none is at hand, or one that was not named cannot be asked."""
    if not context and not _at_hand():
        return None
    try:
        return question(connect_cluster(context))
    except Exception as error:  # whatever a kube configuration or its plugins may raise
        if context:
            raise ConfigError(f"kube_context={context!r}: {why(error)}") from None
        return None


def _node_of(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(OF_NODE, ""))


def _at_hand() -> bool:
    default = Path.home() / ".kube" / "config"
    named = os.environ.get("KUBECONFIG", str(default)).split(os.pathsep)
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(Path(each).is_file() for each in named if each)


def _waiting(cluster: Cluster, namespace: str, workflow: str) -> dict[str, str]:
    pods = cluster.core.list_namespaced_pod(
        namespace,
        label_selector=f"{OF_WORKFLOW}={workflow}",
        field_selector="status.phase=Pending",
        _request_timeout=TIMEOUT_S,
    )
    named = {_node_of(pod): pod for pod in pods.items}
    reasons = {node: reason_of(pod) or _warned(cluster, pod) for node, pod in named.items() if node}
    return {node: reason for node, reason in reasons.items() if reason}


def reason_of(pod: Any) -> str:
    """Why a pod waits, as its status says; empty where it says nothing of note."""
    for each in (*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])):
        waits = each.state.waiting if each.state else None
        if waits is not None and waits.reason and waits.reason not in NO_NEWS:
            return _line(waits.reason, waits.message)
    for each in pod.status.conditions or []:
        if each.type == "PodScheduled" and each.status == "False":
            return _line(each.reason, each.message)
    return ""


def _warned(cluster: Cluster, pod: Any) -> str:
    """The latest warning about a pod: a volume or a secret that is missing is told nowhere else."""
    events = cluster.core.list_namespaced_event(
        pod.metadata.namespace,
        field_selector=f"involvedObject.name={pod.metadata.name},type=Warning",
        _request_timeout=TIMEOUT_S,
    )
    latest = events.items[-1] if events.items else None
    return _line(latest.reason, latest.message) if latest is not None else ""


def _line(reason: str | None, message: str | None) -> str:
    return " ".join(": ".join(filter(None, (reason, message))).split())[:300]
