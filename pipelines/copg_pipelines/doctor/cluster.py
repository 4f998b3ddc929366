"""What ``doctor`` looks at through Kubernetes: kinds, storage, GPUs, secrets and services."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from copg_pipelines.doctor.controller import check_controller
from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, container_of, get, ready
from copg_pipelines.doctor.requirements import Requirements
from copg_pipelines.doctor.server import read_version

ALWAYS = {
    "workflows.argoproj.io": "install KFP: kubectl apply -k .../kustomize/env/platform-agnostic?ref=2.17.0",
    "scheduledworkflows.kubeflow.org": "install KFP's scheduler with it, or no schedule will run",
}
SOMETIMES = {
    "trainjobs.trainer.kubeflow.org": "training over several nodes needs Kubeflow Trainer v2",
    "localqueues.kueue.x-k8s.io": "a queue in the placement needs Kueue",
}
STORES = ("seaweedfs", "minio-service")
"""Services under which KFP installs its object store."""


def installed_version(cluster: Cluster, asked: Requirements) -> str | None:
    """The tag of the KFP server's image, where it is a version."""
    container = container_of(cluster, "ml-pipeline", asked.kfp_namespace)
    return None if container is None else read_version(container.image.partition("@")[0].rpartition(":")[2])


def _scheduler(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    name = "ml-pipeline-scheduledworkflow"
    container = container_of(cluster, name, asked.kfp_namespace)
    if container is None:
        yield todo("scheduler", f"deployment {name} is not in {asked.kfp_namespace}: no schedule will run")
        return
    set_there = {each.name: each for each in container.env or []}
    zone = set_there.get("CRON_SCHEDULE_TIMEZONE")
    if zone is not None and zone.value is None:
        yield note("scheduler", "its time zone comes from a ConfigMap (cronScheduleTimezone): look there")
    else:
        said = zone.value if zone else "UTC"
        how = "" if said == "UTC" else f"; schedule with --server-time-zone {said}"
        yield ok("scheduler", f"its clock is in {said}{how}")


def _kinds(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    listing = cluster.extensions.list_custom_resource_definition(_request_timeout=TIMEOUT_S)
    there = {each.metadata.name for each in listing.items}
    needed = {
        "trainjobs.trainer.kubeflow.org": asked.several_nodes,
        "localqueues.kueue.x-k8s.io": asked.queue,
    }
    for name, hint in {**ALWAYS, **SOMETIMES}.items():
        if name in there:
            yield ok("kinds", name)
        elif name in ALWAYS or needed[name]:
            yield todo("kinds", f"{name} is missing: {hint}")
        else:
            yield note("kinds", f"{name} is not there: {hint}")


def _storage(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    classes = cluster.storage.list_storage_class(_request_timeout=TIMEOUT_S).items
    mark = "storageclass.kubernetes.io/is-default-class"
    default = [
        each.metadata.name for each in classes if (each.metadata.annotations or {}).get(mark) == "true"
    ]
    names = ", ".join(each.metadata.name for each in classes) or "none"
    if default:
        yield ok("storage", f"classes {names}; default {default[0]}")
    else:
        yield todo(
            "storage", f"classes {names}, none the default: name one in the claims, or mark one {mark}"
        )


def _claims(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    for name in asked.claims:
        claim = get(cluster.core.read_namespaced_persistent_volume_claim, name, asked.namespace)
        if claim is None:
            yield todo(
                "claims", f"{name} is not in {asked.namespace}: kubectl apply -k manifests/overlays/..."
            )
            continue
        modes = claim.spec.access_modes or []
        if claim.status.phase != "Bound":
            yield note("claims", f"{name} is {claim.status.phase}: it may wait for its first pod")
        elif "ReadWriteMany" not in modes:
            yield note("claims", f"{name} is {', '.join(modes)}: all tasks have to share one node")
        else:
            yield ok("claims", f"{name}, {claim.spec.resources.requests.get('storage')}, {', '.join(modes)}")


def _gpus(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    nodes = cluster.core.list_node(_request_timeout=TIMEOUT_S).items
    most: dict[str, int] = {}
    total: dict[str, int] = {}
    for node in nodes:
        for name, count in (node.status.allocatable or {}).items():
            if "/" in name and ("gpu" in name or "mig" in name) and count.isdigit():
                most[name] = max(most.get(name, 0), int(count))
                total[name] = total.get(name, 0) + int(count)
    for name, count in asked.gpus.items():
        if most.get(name, 0) < count:
            yield todo(
                "gpus",
                f"a pod asks for {count} of {name} and no node has more than {most.get(name, 0)}: add nodes "
                "and the vendor's device plugin, or ask for less in the placement",
            )
        else:
            yield ok("gpus", f"{total[name]} of {name}, at most {most[name]} a node; a pod asks for {count}")
    if not asked.gpus:
        said = ", ".join(f"{count} of {name}" for name, count in sorted(total.items()))
        yield ok("gpus", said) if said else note("gpus", f"none on {len(nodes)} nodes: trainings run on CPUs")


def _secrets(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    for need in asked.secrets:
        secret = get(cluster.core.read_namespaced_secret, need.name, asked.namespace)
        data = secret.data or {} if secret is not None else {}
        missing = [key for key in need.variable_of if key not in data]
        without = f"; without {', '.join(missing)}" if missing else ""
        keys = list(need.variable_of) or ["HF_TOKEN"]
        literals = [f"--from-literal={key}=..." for key in (keys[:1] if need.optional else keys)]
        make = f"kubectl -n {asked.namespace} create secret generic {need.name} {' '.join(literals)}"
        if secret is None and need.optional:
            yield note("secrets", f"{need.name} is not in {asked.namespace}; it is optional: {make}")
        elif secret is None:
            yield todo(
                "secrets", f"{need.name} is not in {asked.namespace}, and no pod starts without: {make}"
            )
        elif missing and not need.optional:
            add = f"kubectl -n {asked.namespace} edit secret {need.name}"
            yield todo("secrets", f"{need.name}{without}, and no pod starts without: {add}")
        else:
            yield ok("secrets", f"{need.name}: {', '.join(sorted(data)) or 'no keys'}{without}")


def _account(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    if get(cluster.core.read_namespaced_service_account, "copg-runner", asked.namespace) is None:
        hint = "kubectl apply -k manifests/overlays/..., or run without --service-account"
        yield todo("account", f"copg-runner is not in {asked.namespace}: {hint}")
    else:
        yield ok("account", f"copg-runner in {asked.namespace}")


def _object_store(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    launcher = get(cluster.core.read_namespaced_config_map, "kfp-launcher", asked.namespace)
    root = (launcher.data or {}).get("defaultPipelineRoot") if launcher is not None else None
    if root and not root.startswith("minio://"):
        yield note("object store", f"artifacts go to {root}: not looked at from here; a first run shows it")
        return
    for name in STORES:
        if ready(cluster, name, asked.kfp_namespace):
            yield ok("object store", f"service {name} in {asked.kfp_namespace} is ready")
            return
    yield todo(
        "object store",
        f"no pod serves {' or '.join(STORES)}: kubectl -n {asked.kfp_namespace} get pods",
    )


def _mlflow(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    service = urlsplit(asked.tracking).hostname or ""
    if "." in service or not asked.tracking.startswith("http"):
        yield note("mlflow", f"tracking is {asked.tracking or 'a file'}: not looked at from here")
    elif ready(cluster, service, asked.namespace):
        yield ok("mlflow", f"service {service} in {asked.namespace} is ready")
    else:
        yield todo(
            "mlflow",
            f"service {service} in {asked.namespace} is not ready: kubectl apply -k manifests/overlays/..., "
            "or name your own server under placement.stores.tracking",
        )


CHECKS: dict[str, Callable[[Cluster, Requirements], Iterator[Finding]]] = {
    "scheduler": _scheduler,
    "controller": check_controller,
    "kinds": _kinds,
    "storage": _storage,
    "claims": _claims,
    "gpus": _gpus,
    "secrets": _secrets,
    "account": _account,
    "object store": _object_store,
    "mlflow": _mlflow,
}
"""By what they look at, in this order."""
