"""Says to KFP what the pod of a task is.

Everything is set when the DAG is compiled: a resource that a pipeline parameter sets inside a loop or an exit
handler compiles to a DAG that no server runs.
"""

import inspect
from importlib.metadata import version

from kfp import dsl, kubernetes

from copg.errors import ConfigError
from copg_pipelines.placement.pod import Pod
from copg_pipelines.placement.pod_config import RetryConfig

ONE_ATTEMPT_S = 1
"""``backoff_max_duration`` of a task that is tried once."""


def place_task(task: dsl.PipelineTask, pod: Pod, retry: RetryConfig) -> dsl.PipelineTask:
    """Give a task its image, machine, volumes, secrets and retries.

    Raises:
        ConfigError: the pod is one that KFP cannot be told of.
    """
    if pod.nodes > 1:
        raise ConfigError(f"placement: nodes={pod.nodes}: a task of KFP is one pod; train in a TrainJob")
    task.set_container_image(pod.image.name)
    for name, value in sorted(pod.environment.items()):
        task.set_env_variable(name, value)
    _give_resources(task, pod)
    _give_storage(task, pod)
    _give_identity(task, pod)
    _schedule(task, pod)
    _try(task, retry)
    return task


def _try(task: dsl.PipelineTask, retry: RetryConfig) -> None:
    if not retry.count:
        # a task that says nothing, or 0, has the controller's default: three attempts. No pod fails within a
        # second of its first attempt's start, and later than this none is tried again.
        task.set_retry(1, backoff_max_duration=f"{ONE_ATTEMPT_S}s")
        return
    task.set_retry(
        retry.count,
        backoff_duration=f"{retry.backoff_s}s",
        backoff_factor=retry.factor,
        backoff_max_duration=f"{round(86400 * retry.within_days)}s",
        **_policy(task, retry),
    )


def _policy(task: dsl.PipelineTask, retry: RetryConfig) -> dict[str, str]:
    """The policy of retries, if one is asked for."""
    if not retry.policy:
        return {}
    if "policy" not in inspect.signature(task.set_retry).parameters:
        raise ConfigError(
            f"retry.policy={retry.policy!r}: kfp {version('kfp')} cannot say it, nor does any release yet "
            "(kubeflow/pipelines 13386); patch the workflow controller (manifests/workflow-controller)"
        )
    return {"policy": retry.policy}


def _give_resources(task: dsl.PipelineTask, pod: Pod) -> None:
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


def _give_storage(task: dsl.PipelineTask, pod: Pod) -> None:
    if pod.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=pod.shm)
    for volume in pod.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path, volume.sub_path)


def _give_identity(task: dsl.PipelineTask, pod: Pod) -> None:
    kubernetes.set_security_context(
        task, run_as_user=pod.security.user, run_as_group=pod.security.group, run_as_non_root=True
    )
    for secret in pod.secrets:
        if secret.folder:
            kubernetes.use_secret_as_volume(task, secret.name, secret.folder, optional=secret.optional)
        else:
            kubernetes.use_secret_as_env(task, secret.name, secret.variable_of, optional=secret.optional)
    if pod.image.pull_policy:
        kubernetes.set_image_pull_policy(task, pod.image.pull_policy)
    if pod.image.pull_secrets:
        kubernetes.set_image_pull_secrets(task, pod.image.pull_secrets)


def _schedule(task: dsl.PipelineTask, pod: Pod) -> None:
    for name, value in pod.labels.items():
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
    if pod.deadline_s:
        kubernetes.set_timeout(task, pod.deadline_s)
