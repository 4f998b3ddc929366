"""The Kubernetes API: the way to it from a pod, and TrainJobs: create, look, read the log, delete."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_incluster_config
from urllib3.exceptions import HTTPError

from copg.errors import ConfigError

TRAIN_JOBS = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_S = 30
"""Of one request, the log's apart."""
POD_OF = (
    "jobset.sigs.k8s.io/jobset-name={},jobset.sigs.k8s.io/replicatedjob-name=node,"
    "batch.kubernetes.io/job-completion-index=0"
)


class Unreachable(Exception):
    """The API server did not answer, or not for now: worth another try."""


class TrainJobs:
    """The TrainJobs of one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        """Nothing is asked yet.

        Args:
            api: the way to the server.
            namespace: of the jobs and their pods.
        """
        api.configuration.retries = False
        self.namespace = namespace
        self._jobs, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def create(self, job: dict[str, Any]) -> bool:
        """Whether it was created; False when there is one of that name.

        Raises:
            ConfigError: the cluster has no TrainJobs, or this task may not create one, or it is not valid.
        """
        try:
            self._ask(self._jobs.create_namespaced_custom_object, body=job)
        except ApiException as error:
            if error.status == 409:
                return False
            raise ConfigError(self._explain(error)) from None
        return True

    def get(self, name: str) -> dict[str, Any] | None:
        """The job; None when there is none of that name.

        Raises:
            ConfigError: this task may not look at it.
        """
        try:
            return found(self._ask, self._jobs.get_namespaced_custom_object, name=name)
        except ApiException as error:
            raise ConfigError(self._explain(error)) from None

    def delete(self, name: str) -> None:
        """Delete it with its pods, which get SIGTERM; all is well when it is gone already."""
        try:
            self._ask(self._jobs.delete_namespaced_custom_object, name=name, propagation_policy="Foreground")
        except ApiException as error:
            if error.status != 404:
                raise ConfigError(self._explain(error)) from None

    def log(self, name: str) -> Iterator[tuple[str, str]]:
        """(time, line) of the log of the first node's pod until it ends; nothing while there is none.

        Raises:
            Unreachable: the connection broke; another call starts from the beginning.
        """
        try:
            selector = POD_OF.format(name)
            pods = self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=TIMEOUT_S
            ).items
            started = [pod for pod in pods if pod.status.phase not in (None, "Pending")]
            if not started:
                return
            newest = max(started, key=lambda pod: pod.metadata.creation_timestamp)
            response = self._core.read_namespaced_pod_log(
                newest.metadata.name,
                self.namespace,
                container="node",
                follow=True,
                timestamps=True,
                _preload_content=False,
            )
            for line in _lines(response.stream(decode_content=True)):
                time, _, text = line.partition(" ")
                yield time, text
        except (ApiException, HTTPError, OSError) as error:
            raise Unreachable(str(error)) from None

    def _ask(self, call: Any, **arguments: Any) -> Any:
        try:
            return call(**TRAIN_JOBS, namespace=self.namespace, _request_timeout=TIMEOUT_S, **arguments)
        except ApiException as error:
            if error.status in (0, 429) or error.status >= 500:
                raise Unreachable(f"{error.status} {error.reason}") from None
            raise
        except (HTTPError, OSError) as error:
            raise Unreachable(str(error)) from None

    def _explain(self, error: ApiException) -> str:
        where = f"TrainJobs in namespace {self.namespace!r}"
        if error.status == 403:
            return f"{where}: refused; its role copg-runner is in manifests/components/gpu"
        if error.status == 404:
            return f"{where}: the cluster knows none; install Kubeflow Trainer 2.3, or train on one node"
        return f"{where}: {error.status} {error.reason}: {' '.join(str(error.body).split())[:300]}"


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def found(call: Callable[..., Any], *names: Any, **options: Any) -> Any | None:
    """A resource; None where there is none of that name."""
    try:
        return call(*names, **options)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def api_of_this_pod() -> client.ApiClient:
    """The way to the cluster that this pod runs in.

    Raises:
        ConfigException: this is no pod.
    """
    load_incluster_config()
    return client.ApiClient()


def connect() -> TrainJobs:
    """Those of the namespace that this pod runs in.

    Raises:
        ConfigError: this is no pod.
    """
    try:
        return TrainJobs(api_of_this_pod(), NAMESPACE.read_text().strip())
    except Exception as error:
        raise ConfigError(f"several nodes train on Kubernetes alone, and this is no pod: {error}") from None
