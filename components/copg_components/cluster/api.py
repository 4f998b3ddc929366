"""The Kubernetes API: the way to it from a pod, and TrainJobs: create, look, what their pods say, delete."""

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
PODS_OF = "jobset.sigs.k8s.io/jobset-name={},jobset.sigs.k8s.io/replicatedjob-name=node"
FIRST_OF = PODS_OF + ",batch.kubernetes.io/job-completion-index=0"
MOST_EVENTS = 500


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

    def pods(self, name: str) -> list[Any]:
        """The job's pods; none where this task may not look."""
        return self._listed(self._core.list_namespaced_pod, label_selector=PODS_OF.format(name))

    def words(self, name: str) -> str:
        """The latest warning about the job, its JobSet, its Jobs or its pods; empty where there is none.

        All of them are called like the job, or begin like it.
        """
        events = self._listed(self._core.list_namespaced_event, limit=MOST_EVENTS)
        warnings = [
            event
            for event in events
            if event.type == "Warning" and (event.involved_object.name or "").startswith(name)
        ]
        if not warnings:
            return ""
        latest = max(warnings, key=lambda event: str(event.last_timestamp or event.event_time or ""))
        return " ".join(f"{latest.reason}: {latest.message}".split())

    def tolerations(self, runtime: str) -> list[dict[str, Any]]:
        """Of the pods of a TrainingRuntime, which those of a job would take the place of.

        Raises:
            ConfigError: this task may not look, or there is none of that name.
        """
        try:
            kind = {**TRAIN_JOBS, "plural": "trainingruntimes"}
            found = self._ask(self._jobs.get_namespaced_custom_object, name=runtime, **kind)
        except ApiException as error:
            raise ConfigError(self._explain(error)) from None
        jobs = found["spec"]["template"]["spec"]["replicatedJobs"]
        node = next(job for job in jobs if job["name"] == "node")
        return list(node["template"]["spec"]["template"]["spec"].get("tolerations", []))

    def _listed(self, call: Any, **options: Any) -> list[Any]:
        """What a list holds; nothing where a role of an earlier version does not allow it.

        Raises:
            Unreachable: the server does not answer.
        """
        try:
            return list(_answered(call, self.namespace, _request_timeout=TIMEOUT_S, **options).items)
        except ApiException as error:
            if error.status == 403:
                return []
            raise ConfigError(self._explain(error)) from None

    def log(self, name: str) -> Iterator[tuple[str, str]]:
        """(time, line) of the log of the first node's pod until it ends; nothing while there is none.

        Raises:
            Unreachable: the connection broke; another call starts from the beginning.
        """
        try:
            selector = FIRST_OF.format(name)
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
        which = {**TRAIN_JOBS, "namespace": self.namespace, "_request_timeout": TIMEOUT_S}
        return _answered(call, **{**which, **arguments})

    def _explain(self, error: ApiException) -> str:
        where = f"TrainJobs in namespace {self.namespace!r}"
        if error.status == 403:
            return f"{where}: refused; its role copg-runner is in manifests/components/gpu"
        if error.status == 404:
            return f"{where}: the cluster knows none; install Kubeflow Trainer 2.3, or train on one node"
        return f"{where}: {error.status} {error.reason}: {' '.join(str(error.body).split())[:300]}"


def _answered(call: Any, *names: Any, **arguments: Any) -> Any:
    try:
        return call(*names, **arguments)
    except ApiException as error:
        if error.status in (0, 429) or error.status >= 500:
            raise Unreachable(f"{error.status} {error.reason}") from None
        raise
    except (HTTPError, OSError) as error:
        raise Unreachable(str(error)) from None


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
