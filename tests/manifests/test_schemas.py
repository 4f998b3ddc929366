"""Every kustomization builds, from files that are here, to resources that their schemas know."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.manifests.built import (
    MANIFESTS,
    OVERLAYS,
    ROOT,
    build,
    check_schema,
    kustomizations,
    named,
    title,
)

WRONG = (jsonschema.ValidationError, kubernetes_validate.ValidationError)


def test_the_overlays_are_those_that_the_readme_describes() -> None:
    text = (MANIFESTS / "README.md").read_text()
    assert {f"overlays/{name}" for name in ("airgap", "gpu", "kind", "profile", "spot", "standalone")} == set(
        OVERLAYS
    )
    assert [name for name in kustomizations() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", kustomizations())
def test_a_kustomization_builds_to_valid_resources(name: str) -> None:
    resources = build(name)
    titles = [title(resource) for resource in resources]
    assert titles
    assert len(set(titles)) == len(titles)
    for resource in resources:
        check_schema(resource)


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Deployment", "copg-mlflow", "spec.template.spec.containers.0.imagePullPolicyy", "Always"),
        ("Deployment", "copg-mlflow", "spec.replicas", "one"),
        ("NetworkPolicy", "copg-dns", "spec.egress.0.ports.0.protocol", 53),
        ("PersistentVolumeClaim", "copg-runs", "spec.accessMode", "ReadWriteMany"),
        # numProcPerNode moved from the policy to the TrainJob
        ("TrainingRuntime", "copg-torchrun", "spec.mlPolicy.torch.numProcPerNode", "auto"),
        ("TrainingRuntime", "copg-torchrun", "spec.template.spec.replicatedJob", []),
        ("LocalQueue", "copg", "spec.clusterqueue", "copg"),
        ("LocalQueue", "copg", "apiVersion", "kueue.x-k8s.io/v1alpha1"),
    ],
)
def test_a_field_that_a_kind_does_not_have_is_found(kind: str, name: str, path: str, value: object) -> None:
    resource = named(build("overlays/gpu"), kind, name)
    check_schema(resource)
    *parents, last = path.split(".")
    node = resource
    for parent in parents:
        node = node[int(parent)] if parent.isdigit() else node[parent]
    node[last] = value
    with pytest.raises(WRONG):
        check_schema(resource)


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("ClusterQueue", "copg", ("cohort",), "all"),  # its name in v1beta1
        ("ClusterQueue", "copg", ("preemption", "withinClusterQueue"), "Always"),
        ("ResourceFlavor", "copg-spot", ("tolerations", 1, "value"), "x"),  # with operator Exists
    ],
)
def test_a_wrong_queue_is_found(kind: str, name: str, path: tuple[str | int, ...], value: str) -> None:
    resource = named(build("cluster/spot"), kind, name)
    check_schema(resource)
    node = resource["spec"]
    for parent in path[:-1]:
        node = node[parent]
    node[path[-1]] = value
    with pytest.raises(WRONG):
        check_schema(resource)


def test_flavors_give_a_quota_of_each_covered_resource() -> None:
    # Kueue refuses a ClusterQueue in which one is missing
    for name in ("cluster/gpu", "cluster/spot"):
        for group in named(build(name), "ClusterQueue", "copg")["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                assert [r["name"] for r in flavor["resources"]] == group["coveredResources"]
    spot_first = named(build("cluster/spot"), "ClusterQueue", "copg")["spec"]["resourceGroups"][0]["flavors"]
    assert [flavor["name"] for flavor in spot_first] == ["copg-spot", "copg-gpu"]


@pytest.mark.parametrize("name", [*kustomizations(), *(f"components/{c}" for c in ("gpu", "own-namespace"))])
def test_nothing_is_fetched_from_elsewhere(name: str) -> None:
    file = yaml.safe_load((MANIFESTS / name / "kustomization.yaml").read_text())
    bases = [*file.get("resources", []), *file.get("components", [])]
    assert [base for base in bases if remote(base, MANIFESTS / name)] == []


def remote(base: str, folder: Path) -> bool:
    """Whether kustomize would take a base from outside of this repository."""
    found = (folder / base).resolve()
    return not (found.exists() and found.is_relative_to(ROOT))


def test_a_remote_base_is_found() -> None:
    assert remote("github.com/kubeflow/pipelines/manifests/kustomize/env/dev?ref=2.17.0", MANIFESTS / "base")
    assert not remote("../../pipelines", MANIFESTS / "base")


def test_the_recipes_on_the_cluster_are_those_of_the_package() -> None:
    on_cluster = named(build("base"), "ConfigMap", "copg-recipes")["data"]
    files = {path.name: path.read_text() for path in (ROOT / "pipelines/recipes").glob("*.yaml")}
    assert on_cluster == files
