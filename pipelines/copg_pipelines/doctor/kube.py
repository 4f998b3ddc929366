"""The way to a Kubernetes cluster, and how to ask it for one thing."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from copg_components.cluster.api import api_of_this_pod, found
from kubernetes import client as k8s
from kubernetes import config as k8s_config
from kubernetes.client.exceptions import ApiException

TIMEOUT_S = 10
"""Of one request."""


@dataclass(frozen=True)
class Cluster:
    """The Kubernetes APIs."""

    core: k8s.CoreV1Api
    apps: k8s.AppsV1Api
    storage: k8s.StorageV1Api
    extensions: k8s.ApiextensionsV1Api
    version: k8s.VersionApi


def connect_cluster(context: str) -> Cluster:
    """The cluster of a kube context; of the pod this runs in where there is no context."""
    if context or "KUBERNETES_SERVICE_HOST" not in os.environ:
        path = os.environ.get("KUBECONFIG")  # the library reads it once, when it is loaded
        api = k8s_config.new_client_from_config(config_file=path, context=context or None)
    else:
        api = api_of_this_pod()
    return Cluster(
        k8s.CoreV1Api(api),
        k8s.AppsV1Api(api),
        k8s.StorageV1Api(api),
        k8s.ApiextensionsV1Api(api),
        k8s.VersionApi(api),
    )


def why(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, ApiException):
        refused = "you may not read it" if error.status == 403 else "your credentials are refused"
        return (
            f"{refused} ({error.status})" if error.status in (401, 403) else f"{error.status} {error.reason}"
        )
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def get(call: Callable[..., Any], *names: str) -> Any | None:
    """A resource; None where there is none of that name."""
    return found(call, *names, _request_timeout=TIMEOUT_S)


def container_of(cluster: Cluster, deployment: str, namespace: str) -> Any | None:
    """The container of a deployment; None where there is none."""
    found = get(cluster.apps.read_namespaced_deployment, deployment, namespace)
    return None if found is None else found.spec.template.spec.containers[0]


def ready(cluster: Cluster, service: str, namespace: str) -> bool:
    """Whether a pod answers for a service."""
    endpoints = get(cluster.core.read_namespaced_endpoints, service, namespace)
    return endpoints is not None and any(subset.addresses for subset in endpoints.subsets or [])
