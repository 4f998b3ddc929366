"""The patch for KFP's workflow controller: failed programs are tried again, and nothing else changes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from tests.manifests.built import MANIFESTS, build, schema

PATCH = MANIFESTS / "workflow-controller/retry-patch.yaml"


def defaults(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(config["data"]["workflowDefaults"])
    return found


def test_it_changes_the_retry_policy_alone(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap"},
        "data": {"executor": "imagePullPolicy: IfNotPresent\n", "workflowDefaults": "spec: {}\n"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "patch.yaml").write_text(PATCH.read_text())
    (tmp_path / "kustomization.yaml").write_text("resources: [config.yaml]\npatches: [{path: patch.yaml}]\n")
    (patched,) = build(tmp_path)
    assert patched["data"]["executor"] == config["data"]["executor"]
    strategy = defaults(patched)["spec"]["templateDefaults"]["retryStrategy"]
    assert (strategy["limit"], strategy["retryPolicy"]) == (
        "2",
        "Always",
    )  # without a limit, Argo tries for ever


def retried(status: str, exit_code: str) -> bool:
    """What Argo's language makes of the expression, whose two variables are strings."""
    given = defaults(yaml.safe_load(PATCH.read_text()))["spec"]["templateDefaults"]["retryStrategy"]
    words = given["expression"].replace("||", "or").replace("asInt", "int")
    last = SimpleNamespace(status=status, exitCode=exit_code)
    return bool(eval(words, {"__builtins__": {}, "int": int, "lastRetry": last}))


def test_programs_and_lost_pods_are_tried_again_and_the_dags_around_them_are_not() -> None:
    assert retried("Failed", "1")
    assert retried("Failed", "137")
    assert retried("Error", "-1")  # a deleted pod has no exit code
    assert not retried("Failed", "-1")  # nor has a DAG, which failed since something within it did


def test_argo_knows_its_fields() -> None:
    given = defaults(yaml.safe_load(PATCH.read_text()))
    jsonschema.validate(given, schema("workflow_defaults", "WorkflowDefaults"))
    given["spec"]["templateDefaults"]["retryStrategy"]["retryPolicy"] = "Allways"
    with pytest.raises(jsonschema.ValidationError, match="Allways"):
        jsonschema.validate(given, schema("workflow_defaults", "WorkflowDefaults"))
