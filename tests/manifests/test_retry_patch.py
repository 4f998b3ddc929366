"""The patch for KFP's workflow controller: lost pods are tried again, mistakes are not."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml
from copg_pipelines.dags.weight import LIMIT

from tests.manifests.built import MANIFESTS, build, schema

PATCH = MANIFESTS / "workflow-controller/retry-patch.yaml"
RECORDED = json.loads((Path(__file__).parent / "recorded_attempts.json").read_text())
"""Every attempt that failed in three runs on KFP 2.17.0 with Argo 4.0.5, as its controller saw it."""
UPSTREAM = """
spec:
  ttlStrategy:
    secondsAfterCompletion: 3600
    secondsAfterSuccess: 3600
    secondsAfterFailure: 3600
  templateDefaults:
    retryStrategy:
      limit: '2'
      retryPolicy: OnError
"""
"""``workflowDefaults`` of KFP 2.17.0."""


def defaults(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(config["data"]["workflowDefaults"])
    return found


def patched(folder: Path, resource: dict[str, Any], patch: str) -> dict[str, Any]:
    """A resource as ``kubectl patch`` would leave it."""
    (folder / "resource.yaml").write_text(yaml.safe_dump(resource))
    (folder / "patch.yaml").write_text((MANIFESTS / "workflow-controller" / patch).read_text())
    (folder / "kustomization.yaml").write_text("resources: [resource.yaml]\npatches: [{path: patch.yaml}]\n")
    (found,) = build(folder)
    return found


def test_it_changes_the_retry_policy_alone(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap"},
        "data": {"executor": "imagePullPolicy: IfNotPresent\n", "workflowDefaults": UPSTREAM},
    }
    found = patched(tmp_path, config, "retry-patch.yaml")
    assert found["data"]["executor"] == "imagePullPolicy: IfNotPresent\n"
    strategy = defaults(found)["spec"]["templateDefaults"].pop("retryStrategy")
    assert strategy.keys() == {"limit", "retryPolicy", "expression"}
    # without a limit, Argo tries for ever
    assert (strategy["limit"], strategy["retryPolicy"]) == ("2", "Always")
    assert defaults(found)["spec"]["ttlStrategy"] == yaml.safe_load(UPSTREAM)["spec"]["ttlStrategy"]


def test_the_controller_looks_every_second_and_keeps_its_environment(tmp_path: Path) -> None:
    container = {
        "name": "workflow-controller",
        "image": "quay.io/argoproj/workflow-controller:v4.0.5",
        "env": [{"name": "TRANSIENT_ERROR_PATTERN", "value": "(?i)(preempt)"}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "workflow-controller"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    found = patched(tmp_path, deployment, "deployment-patch.yaml")
    (left,) = found["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in left.pop("env")} == {
        "TRANSIENT_ERROR_PATTERN": "(?i)(preempt)",
        "DEFAULT_REQUEUE_TIME": "1s",
        "MAX_WORKFLOW_SIZE": str(LIMIT),
    }
    assert left == {name: value for name, value in container.items() if name != "env"}


def retried(message: str, retries: int = 0, status: str = "Failed") -> bool:
    """What Argo's language makes of the expression, whose variables are strings.

    Args:
        message: of the attempt that failed last.
        retries: attempts before it.
        status: of it, which the expression may not go by: a DAG can be ``Error`` too.
    """
    given = defaults(yaml.safe_load(PATCH.read_text()))["spec"]["templateDefaults"]["retryStrategy"]
    words = re.sub(r'(\S+) matches ("[^"]*")', r"matches(\2, \1)", given["expression"])
    words = words.replace("||", "or").replace("&&", "and")
    last = SimpleNamespace(message=message, status=status)
    names = {"matches": lambda pattern, text: re.search(pattern, text) is not None}
    return bool(eval(words, {"__builtins__": {}, "lastRetry": last, "retries": str(retries), **names}))


@pytest.mark.parametrize(
    "message",
    [
        "pod deleted",
        "main: Error (exit code 143)",
        # of pods that the kubelet ended or did not take
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi.",
        "Pod was terminated in response to imminent node shutdown.",
        "Pod was rejected as the node is shutting down.",
        "Pod was rejected: Allocate failed due to no healthy devices present, which is unexpected",
        "Preempted in order to admit critical pod",
        "Node gpu-7 which was running pod train is unresponsive",
        "main: ContainerStatusUnknown (exit code 137): The container could not be located when the pod was "
        "terminated",
        # of Argo's containers beside the program, and of a pod without any
        "init: Error (exit code 1)",
        "wait: Error (exit code 64): failed to put file: connection refused",
        "pod failed: neither main nor wait container completed successfully",
        "Pod failed before main container starts due to ContainerCreating: ",
        "can't find failed message for pod train-1 namespace kubeflow",
    ],
)
def test_a_lost_pod_is_tried_again_as_often_as_its_task_asks(message: str) -> None:
    assert retried(message)
    assert retried(message, retries=4, status="Error")


@pytest.mark.parametrize(
    "message",
    [
        "main: Error (exit code 1)",  # a program that failed, whatever its own code was
        "main: OOMKilled (exit code 137)",
        "main: OOMKilled (exit code 1)",  # of a child of the launcher
        "Pod was active on the node longer than the specified deadline",
        'Usage of EmptyDir volume "shm" exceeds the limit "1Gi". ',
        "Step exceeded its deadline",
        "retryStrategy.expression evaluated to false",
        "No more retries left",
        "Max duration limit exceeded",
        "task 'resolve' errored: value '1.5' cannot be resolved to an int",
        "",  # a DAG
    ],
)
def test_a_mistake_and_a_dag_end_at_once(message: str) -> None:
    assert not retried(message)
    assert not retried(message, status="Error")


def test_killed_for_no_told_reason_is_tried_once_more() -> None:
    assert retried("main: Error (exit code 137)")
    assert not retried("main: Error (exit code 137)", retries=1)


@pytest.mark.parametrize("attempt", RECORDED, ids=lambda each: f"{each['run']}-{each['node']}")
def test_what_a_real_controller_saw_is_told_apart(attempt: dict[str, Any]) -> None:
    lost = attempt["message"] == "main: Error (exit code 143)"
    assert retried(attempt["message"], attempt["retries"], attempt["phase"]) is lost
    assert not (lost and attempt["type"] == "DAG")


def test_the_recordings_hold_a_lost_pod_a_mistake_and_a_dag() -> None:
    kinds = {(each["type"], each["phase"], each["message"]) for each in RECORDED}
    assert ("Pod", "Failed", "main: Error (exit code 143)") in kinds
    assert ("Pod", "Failed", "main: Error (exit code 1)") in kinds
    assert {("DAG", "Failed", ""), ("DAG", "Error", "")} <= kinds


def test_argo_knows_its_fields() -> None:
    given = defaults(yaml.safe_load(PATCH.read_text()))
    jsonschema.validate(given, schema("workflow_defaults", "WorkflowDefaults"))
    given["spec"]["templateDefaults"]["retryStrategy"]["retryPolicy"] = "Allways"
    with pytest.raises(jsonschema.ValidationError, match="Allways"):
        jsonschema.validate(given, schema("workflow_defaults", "WorkflowDefaults"))
