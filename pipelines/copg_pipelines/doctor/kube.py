"""The way to a Kubernetes cluster, and how to ask it for one thing."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client as k8s
from kubernetes import config as k8s_config
from kubernetes.client.exceptions import ApiException

TIMEOUT_S = 10
"""Of one request."""


@dataclass(frozen=True, kw_only=True)
class SecretNeed:
    """A Secret, and the keys of it that pods read."""

    name: str = "copg-secrets"
    keys: tuple[str, ...] = ()
    optional: bool = True
    """Whether pods start without it or a key of it."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What runs will ask of a cluster."""

    kfp_namespace: str = "kubeflow"
    namespace: str = "kubeflow"
    """Where the tasks run."""
    image: str = ""
    """To pull for a try; empty: none."""
    pull_policy: str = ""
    pull_secrets: tuple[str, ...] = ()
    gpus: dict[str, int] = field(default_factory=dict)
    """How many of each resource one pod asks for."""
    secrets: tuple[SecretNeed, ...] = (SecretNeed(),)
    claims: tuple[str, ...] = ("copg-runs",)
    tracking: str = "http://copg-mlflow:5000"
    """MLflow server of the runs."""
    several_nodes: bool = False
    queue: bool = False


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
        k8s_config.load_incluster_config()
        api = k8s.ApiClient()
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
    try:
        return call(*names, _request_timeout=TIMEOUT_S)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def container_of(cluster: Cluster, deployment: str, namespace: str) -> Any | None:
    """The container of a deployment; None where there is none."""
    found = get(cluster.apps.read_namespaced_deployment, deployment, namespace)
    return None if found is None else found.spec.template.spec.containers[0]


def ready(cluster: Cluster, service: str, namespace: str) -> bool:
    """Whether a pod answers for a service."""
    endpoints = get(cluster.core.read_namespaced_endpoints, service, namespace)
    return endpoints is not None and any(subset.addresses for subset in endpoints.subsets or [])
