"""Rules of our own for manifests, beyond what a schema can say: each complaint names the resource."""

import re
from collections.abc import Iterator
from typing import Any

from tests.manifests.built import Resource, title

PART_OF = {"app.kubernetes.io/part-of": "copg"}
SECRET_NAME = re.compile(r"(?i)(^|[_.-])(password|passwd|secret|token|api_?key|access_?key|private_?key)$")
SECRET_LINE = re.compile(
    r"(?im)^[\s\"']*[\w.-]*(password|passwd|secret|token|api_?key|access_?key)[\"']?\s*[:=]\s*\S"
)
SECRET_VALUE = re.compile(r"hf_[A-Za-z0-9]{20}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[ps]_\w{30}")
HOST = ("hostNetwork", "hostPID", "hostIPC")
NO_ISTIO = {"sidecar.istio.io/inject": "false"}
OF_ALL_PODS = ("LimitRange", "ResourceQuota")
"""Kinds that hold for every pod of a namespace, also for those of others."""


def complaints(resources: list[Resource]) -> list[str]:
    """What is wrong with the resources of one kustomization, in their order."""
    found = [f"{title(r)}: {problem}" for r in resources for rule in RULES for problem in rule(r)]
    return found + [f"{title(r)}: {problem}" for r in resources for problem in _dangling(r, resources)]


def pod_of(resource: Resource) -> dict[str, Any] | None:
    """Metadata and spec of the pods that a resource makes; None when it makes none."""
    if resource["kind"] == "Pod":
        return resource
    if resource["kind"] == "TrainingRuntime":
        (job,) = resource["spec"]["template"]["spec"]["replicatedJobs"]
        return dict(job["template"]["spec"]["template"])
    return resource["spec"]["template"] if resource["kind"] in ("Deployment", "Job") else None


def _pods(resource: Resource) -> Iterator[str]:
    pod = pod_of(resource)
    if pod is None:
        return
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    if not PART_OF.items() <= pod["metadata"].get("labels", {}).items():
        yield "its pods lack the label that the network policies select"
    if not NO_ISTIO.items() <= pod["metadata"].get("labels", {}).items():
        yield "its pods get a proxy of istio where a namespace has them injected"
    if resource["kind"] != "TrainingRuntime" and not spec.get("imagePullSecrets"):  # there the recipe says it
        yield "its pods cannot pull from a registry that asks who pulls"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp is not RuntimeDefault"
    if any(spec.get(key) for key in HOST):
        yield "it shares a namespace of the host"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a path of the host"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no limit"
    if spec.get("automountServiceAccountToken", True):
        yield "it carries a token for the Kubernetes API that it does not need"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from _container(container, security)


def _container(container: dict[str, Any], pod_security: dict[str, Any]) -> Iterator[str]:
    name, image = container["name"], container["image"]
    security = {**pod_security, **container.get("securityContext", {})}
    if image.endswith(":latest") or (":" not in image.split("/")[-1] and "@" not in image):
        yield f"{name}: image {image} has no fixed tag or digest"
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield f"{name}: may run as root"
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield f"{name}: may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: root file system can be written to"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name}: keeps capabilities"
    for bound in ("requests", "limits"):
        if not {"cpu", "memory"} <= container.get("resources", {}).get(bound, {}).keys():
            yield f"{name}: no {bound} of cpu and memory"
    for variable in container.get("env", []):
        if "value" in variable and (
            SECRET_NAME.search(variable["name"]) or SECRET_VALUE.search(variable["value"])
        ):
            yield f"{name}: {variable['name']} is a secret in plain text"


def _secrets(resource: Resource) -> Iterator[str]:
    if resource["kind"] == "Secret":
        yield "a secret does not belong in Git"
    if resource["kind"] == "ConfigMap":
        for key, value in resource.get("data", {}).items():
            if SECRET_NAME.search(key) or SECRET_LINE.search(value) or SECRET_VALUE.search(value):
                yield f"{key} holds a secret"


def _rights(resource: Resource) -> Iterator[str]:
    if resource["kind"] in ("ClusterRole", "ClusterRoleBinding"):
        yield "rights beyond the namespace"
    for rule in resource.get("rules", []) if resource["kind"] == "Role" else []:
        named = rule.get("resourceNames")
        if "*" in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]:
            yield "rights to everything"
        if "secrets" in rule["resources"] and not named:
            yield "rights to every secret"
        if {"escalate", "bind", "impersonate"} & set(rule["verbs"]) or "pods/exec" in rule["resources"]:
            yield "rights to gain rights"


def _shared(resource: Resource) -> Iterator[str]:
    """What would touch the pods of others in the namespace that they share with ours."""
    kind, spec = resource["kind"], resource.get("spec", {})
    if kind == "Namespace":
        yield "the namespace is not ours"
    if kind in OF_ALL_PODS:
        yield "holds for the pods of others"
    if kind == "NetworkPolicy" and not PART_OF.items() <= spec["podSelector"].get("matchLabels", {}).items():
        yield "selects the pods of others"
    if kind == "PriorityClass" and resource["value"] < 0:
        yield "is negative: JobSet makes a label of it that no pod may carry"


RULES = (_pods, _secrets, _rights, _shared)


def _dangling(resource: Resource, resources: list[Resource]) -> Iterator[str]:
    """Names of resources that are not there."""
    names = {(r["kind"], r["metadata"]["name"]) for r in resources}
    pod = pod_of(resource)
    wanted = []
    if pod is not None and resource["kind"] != "Pod":  # the pod stands alone, beside an overlay
        wanted += [
            ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for volume in pod["spec"].get("volumes", [])
            if "persistentVolumeClaim" in volume
        ]
        if "serviceAccountName" in pod["spec"]:
            wanted.append(("ServiceAccount", pod["spec"]["serviceAccountName"]))
    if resource["kind"] == "RoleBinding":
        wanted.append((resource["roleRef"]["kind"], resource["roleRef"]["name"]))
        wanted += [(subject["kind"], subject["name"]) for subject in resource["subjects"]]
    if resource["kind"] == "ClusterQueue":
        wanted += [
            ("ResourceFlavor", f["name"]) for g in resource["spec"]["resourceGroups"] for f in g["flavors"]
        ]
    yield from (f"{kind}/{name} is not there" for kind, name in wanted if (kind, name) not in names)
    if resource["kind"] == "Service":
        labels = [p["metadata"].get("labels", {}) for r in resources if (p := pod_of(r)) is not None]
        if not any(resource["spec"]["selector"].items() <= each.items() for each in labels):
            yield "no pod is selected"
