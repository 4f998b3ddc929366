"""The manifests as ``kubectl kustomize`` builds them, checked against the schemas of their kinds."""

import copy
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
SCHEMAS = Path(__file__).parent / "schemas"
VERSIONS = ("1.33", "1.36")
"""Of Kubernetes: those of the kind nodes on which KFP 2.17.0 is tested upstream."""
KINDS = {"ResourceFlavor": "kueue", "ClusterQueue": "kueue", "LocalQueue": "kueue"} | {
    "WorkloadPriorityClass": "kueue",
    "Pipeline": "pipelines",
    "PipelineVersion": "pipelines",
}
"""Custom kinds, and the file of their schemas."""
Resource = dict[str, Any]


def kustomizations() -> list[str]:
    """Every folder that can be applied, as a path in ``manifests``."""
    found = (path.parent for path in MANIFESTS.rglob("kustomization.yaml"))
    return sorted(str(path.relative_to(MANIFESTS)) for path in found if "components" not in path.parts)


OVERLAYS = [name for name in kustomizations() if name.startswith("overlays/")]


def kubectl() -> str:
    """The program; without one, the test fails, unless it was asked to be left out."""
    found = shutil.which("kubectl")
    if found is None and os.environ.get("COPG_SKIP_KUBECTL") == "1":
        pytest.skip("COPG_SKIP_KUBECTL=1: kubectl is not installed, and it builds the manifests")
    if found is None:
        pytest.fail(
            "kubectl is not installed, and it builds the manifests: install it "
            "(https://kubernetes.io/docs/tasks/tools), or set COPG_SKIP_KUBECTL=1 to leave these tests out",
            pytrace=False,
        )
    return found


@functools.cache
def _built(folder: Path) -> list[Resource]:
    command = [kubectl(), "kustomize", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if built.returncode:
        raise ValueError(f"{folder}: {built.stderr.strip()}")
    return list(yaml.safe_load_all(built.stdout))


def build(name: str | Path) -> list[Resource]:
    """The resources of one kustomization: a name in ``manifests``, or a folder.

    Raises:
        ValueError: kustomize refuses it.
    """
    return copy.deepcopy(_built(MANIFESTS / name))


def named(resources: list[Resource], kind: str, name: str) -> Resource:
    """One resource among many."""
    (found,) = (r for r in resources if r["kind"] == kind and r["metadata"]["name"] == name)
    return found


def title(resource: Resource) -> str:
    """``Deployment/copg-mlflow``."""
    return f"{resource['kind']}/{resource['metadata']['name']}"


def check_schema(resource: Resource) -> None:
    """Hold a resource against the schema of its kind; unknown fields are errors.

    Raises:
        jsonschema.ValidationError: or kubernetes-validate's own, with the path of the field.
    """
    kind = resource["kind"]
    if kind in KINDS:
        jsonschema.validate(resource, schema(KINDS[kind], kind))
    elif resource["apiVersion"].startswith("trainer.kubeflow.org/"):
        jsonschema.validate(resource, trainer_schema(kind))
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)


def schema(file: str, kind: str) -> Resource:
    """The schema of a custom kind, or of part of one."""
    whole = json.loads((SCHEMAS / f"{file}.json").read_text())
    return {**whole[kind], "$defs": whole.get("$defs", {})}


@functools.cache
def trainer_schema(kind: str) -> Resource:
    """The schema of ``TrainingRuntime`` or ``TrainJob`` from the models that Kubeflow Trainer publishes."""
    from kubeflow_trainer_api import models

    model = getattr(models, f"TrainerV1alpha1{kind}")
    closed: Resource = model.model_json_schema(by_alias=True)
    for node in _objects(closed):
        if "one_of_schemas" in node.get("properties", {}):  # a wrapper for "number or text", as in 4 and 4Gi
            node.clear()
            node["type"] = ["string", "number"]
        elif "properties" in node:
            node.setdefault("additionalProperties", False)
    return closed


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(child)
