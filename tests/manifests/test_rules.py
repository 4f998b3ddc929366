"""No manifest breaks a rule, and each rule finds the defect that it is for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.built import MANIFESTS, build, check_schema, kustomizations, named
from tests.manifests.rules import complaints

Resources = list[dict[str, Any]]


@pytest.mark.parametrize("name", [name for name in kustomizations() if name != "base"])
def test_a_kustomization_breaks_no_rule(name: str) -> None:
    assert complaints(build(name)) == []


def mlflow(resources: Resources) -> dict[str, Any]:
    pod: dict[str, Any] = named(resources, "Deployment", "copg-mlflow")["spec"]["template"]
    return pod


def container(resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = mlflow(resources)["spec"]["containers"][0]
    return found


def trainer(resources: Resources) -> dict[str, Any]:
    runtime = named(resources, "TrainingRuntime", "copg-torchrun")
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def recipes(resources: Resources) -> dict[str, str]:
    found: dict[str, str] = named(resources, "ConfigMap", "copg-recipes")["data"]
    return found


def rules_of(resources: Resources, role: str) -> list[Any]:
    found: list[Any] = named(resources, "Role", role)["rules"]
    return found


def resource(kind: str, name: str = "copg", **rest: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "kubeflow"}, **rest}


DEFECTS: list[tuple[str, str, Callable[[Resources], object]]] = [
    ("latest", "has no fixed tag", lambda r: container(r).update(image="copg:latest")),
    ("no tag", "has no fixed tag", lambda r: trainer(r).update(image="registry:5000/copg")),
    ("root", "may run as root", lambda r: container(r)["securityContext"].update(runAsUser=0)),
    ("perhaps root", "may run as root", lambda r: mlflow(r)["spec"]["securityContext"].pop("runAsNonRoot")),
    ("escalation", "may gain", lambda r: trainer(r)["securityContext"].pop("allowPrivilegeEscalation")),
    ("privileged", "may gain", lambda r: trainer(r)["securityContext"].update(privileged=True)),
    ("writable", "can be written", lambda r: container(r)["securityContext"].pop("readOnlyRootFilesystem")),
    (
        "capability",
        "capabilities",
        lambda r: container(r)["securityContext"]["capabilities"].update(add=["X"]),
    ),
    ("seccomp", "seccomp", lambda r: mlflow(r)["spec"]["securityContext"].pop("seccompProfile")),
    ("no limit", "no limits of", lambda r: trainer(r)["resources"]["limits"].pop("memory")),
    ("no request", "no requests of", lambda r: container(r)["resources"].pop("requests")),
    ("endless tmp", "has no limit", lambda r: mlflow(r)["spec"]["volumes"][1]["emptyDir"].clear()),
    (
        "host path",
        "path of the host",
        lambda r: mlflow(r)["spec"]["volumes"][1].update(hostPath={"path": "/"}),
    ),
    ("host network", "namespace of the host", lambda r: mlflow(r)["spec"].update(hostNetwork=True)),
    ("token", "carries a token", lambda r: mlflow(r)["spec"].pop("automountServiceAccountToken")),
    ("unlabelled", "lack the label", lambda r: mlflow(r)["metadata"].update(labels={"app": "mlflow"})),
    (
        "env secret",
        "in plain text",
        lambda r: trainer(r)["env"].append({"name": "HF_TOKEN", "value": "hf_x"}),
    ),
    ("key", "holds a secret", lambda r: recipes(r).update({"a.yaml": "judge: {key: AKIAABCDEFGHIJKLMNOP}"})),
    ("line", "holds a secret", lambda r: recipes(r).update({"a.yaml": "judge:\n  api_key: 1234\n"})),
    ("file", "holds a secret", lambda r: recipes(r).update(HF_TOKEN="hf")),
    ("secret", "does not belong in Git", lambda r: r.append(resource("Secret"))),
    ("cluster role", "beyond the namespace", lambda r: r.append(resource("ClusterRole"))),
    ("all verbs", "rights to everything", lambda r: rules_of(r, "copg-runner")[0].update(verbs=["*"])),
    ("secrets", "every secret", lambda r: rules_of(r, "copg-workflow")[-1].pop("resourceNames")),
    ("exec", "gain rights", lambda r: rules_of(r, "copg-runner")[-1]["resources"].append("pods/exec")),
    ("sidecar", "proxy of istio", lambda r: mlflow(r)["metadata"]["labels"].pop("sidecar.istio.io/inject")),
    ("registry", "asks who pulls", lambda r: mlflow(r)["spec"].pop("imagePullSecrets")),
    ("namespace", "is not ours", lambda r: r.append(resource("Namespace", "kubeflow"))),
    ("limit range", "pods of others", lambda r: r.append(resource("LimitRange"))),
    ("quota", "pods of others", lambda r: r.append(resource("ResourceQuota"))),
    ("priority", "is negative", lambda r: r.append(resource("PriorityClass", value=-10))),
    (
        "deny all",
        "selects the pods of others",
        lambda r: named(r, "NetworkPolicy", "copg-deny")["spec"]["podSelector"].clear(),
    ),
    (
        "claim",
        "copg-mlflow is not there",
        lambda r: r.remove(named(r, "PersistentVolumeClaim", "copg-mlflow")),
    ),
    ("account", "copg-runner is not there", lambda r: r.remove(named(r, "ServiceAccount", "copg-runner"))),
    (
        "service",
        "no pod is selected",
        lambda r: named(r, "Service", "copg-mlflow")["spec"]["selector"].update(a="b"),
    ),
]


@pytest.mark.parametrize(("says", "plant"), [d[1:] for d in DEFECTS], ids=[d[0] for d in DEFECTS])
def test_a_planted_defect_is_found(says: str, plant: Callable[[Resources], object]) -> None:
    resources = build("overlays/gpu")
    plant(resources)
    found = complaints(resources)
    assert any(says in complaint for complaint in found)
    assert len(found) <= 3  # a pod without labels also leaves its service alone, and gets a sidecar


def test_the_base_cannot_be_applied_by_itself() -> None:
    # its image has no registry and no tag: only an overlay names them
    assert complaints(build("base")) == [
        "Deployment/copg-mlflow: mlflow: image copg has no fixed tag or digest"
    ]


def test_a_flavor_that_no_one_made_is_found() -> None:
    resources = build("cluster/spot")
    resources.remove(named(resources, "ResourceFlavor", "copg-spot"))
    assert complaints(resources) == ["ClusterQueue/copg: ResourceFlavor/copg-spot is not there"]


def test_everything_of_a_profile_lies_in_it() -> None:
    resources = build("overlays/profile")
    assert {r["metadata"]["namespace"] for r in resources} == {"team-a"}
    bindings = [r for r in resources if r["kind"] == "RoleBinding"]
    assert {s["namespace"] for binding in bindings for s in binding["subjects"]} == {"team-a"}


def test_a_namespace_of_our_own_is_restricted_and_bounded_and_keeps_its_labels(tmp_path: Path) -> None:
    base, component = (os.path.relpath(MANIFESTS / n, tmp_path) for n in ("base", "components/own-namespace"))
    file = {"namespace": "team-a", "resources": [base], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(file))
    resources = build(tmp_path)
    for each in resources:
        check_schema(each)
    # one of ours would replace `app.kubernetes.io/part-of: kubeflow-profile`, by which KFP lets pods in
    labels = named(resources, "Namespace", "team-a")["metadata"]["labels"]
    modes = ("enforce", "audit", "warn")
    assert labels == {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
    assert {"LimitRange", "ResourceQuota"} <= {each["kind"] for each in resources}


def test_all_that_runs_is_our_image_from_one_place() -> None:
    for name, image in (
        ("overlays/gpu", "registry.example.com/copg:0.1.0"),
        ("overlays/spot", "registry.example.com/copg:0.1.0"),
        ("overlays/airgap", "mirror.internal.example/copg:0.1.0"),
    ):
        resources = build(name)
        assert {container(resources)["image"], trainer(resources)["image"]} == {image}


def test_without_a_network_no_hub_is_asked() -> None:
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in trainer(build("overlays/airgap"))["env"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} not in trainer(build("overlays/gpu"))["env"]


def test_a_lost_spot_machine_restarts_the_training() -> None:
    spec = named(build("overlays/spot"), "TrainingRuntime", "copg-torchrun")["spec"]["template"]["spec"]
    assert spec["failurePolicy"] == {"maxRestarts": 20}
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0
    assert "karpenter.sh/capacity-type" in [t["key"] for t in job["template"]["spec"]["tolerations"]]


def test_priorities_that_pods_name_exist() -> None:
    made = {(r["kind"], r["metadata"]["name"]) for r in build("cluster/gpu")}
    assert {("PriorityClass", "copg-batch"), ("WorkloadPriorityClass", "copg-batch")} <= made
    runtime = named(build("overlays/gpu"), "TrainingRuntime", "copg-torchrun")
    job = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["spec"]["priorityClassName"] == "copg-batch"
    assert named(build("overlays/gpu"), "LocalQueue", "copg")["spec"] == {"clusterQueue": "copg"}
