"""What ``doctor`` looks at through Kubernetes: kinds, storage, GPUs, secrets, services and the image."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from copg_pipelines.doctor.findings import Finding, check_versions, note, ok, todo
from copg_pipelines.doctor.image import check_image
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, Needs, container_of, get, ready, why

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


def examine_cluster(connect: Callable[[], Cluster], needs: Needs, server: str | None) -> Iterator[Finding]:
    """Each check on its own: one that may not look says so, and the others go on."""
    try:
        cluster = connect()
        found = cluster.version.get_code(_request_timeout=TIMEOUT_S)
        yield ok("kubernetes", f"{found.git_version}")
    except (ConfigException, HTTPError, ApiException, OSError, ValueError) as error:
        yield check_versions(server)
        yield todo("kubernetes", f"{why(error)}; name a context with --kube-context, or add --no-cluster")
        return
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", lambda: _versions(cluster, needs, server)),
        ("scheduler", lambda: _scheduler(cluster, needs)),
        ("kinds", lambda: _kinds(cluster, needs)),
        ("storage", lambda: _storage(cluster)),
        ("claims", lambda: _claims(cluster, needs)),
        ("gpus", lambda: _gpus(cluster, needs)),
        ("secrets", lambda: _secrets(cluster, needs)),
        ("account", lambda: _account(cluster, needs)),
        ("object store", lambda: _object_store(cluster, needs)),
        ("mlflow", lambda: _mlflow(cluster, needs)),
        ("image", lambda: check_image(cluster, needs)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except ApiException as error:
            yield note(name, f"cannot be looked at: {why(error)}")
        except (HTTPError, OSError) as error:
            yield todo(name, f"the cluster does not answer: {why(error)}")


def _versions(cluster: Cluster, needs: Needs, server: str | None) -> Iterator[Finding]:
    container = container_of(cluster, "ml-pipeline", needs.kfp_namespace)
    tag = container.image.partition("@")[0].rpartition(":")[2] if container is not None else None
    yield check_versions(server or (tag if tag and tag[:1].isdigit() else None))


def _scheduler(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    name = "ml-pipeline-scheduledworkflow"
    container = container_of(cluster, name, needs.kfp_namespace)
    if container is None:
        yield todo("scheduler", f"deployment {name} is not in {needs.kfp_namespace}: no schedule will run")
        return
    set_there = {each.name: each for each in container.env or []}
    zone = set_there.get("CRON_SCHEDULE_TIMEZONE")
    if zone is not None and zone.value is None:
        yield note("scheduler", "its time zone comes from a ConfigMap (cronScheduleTimezone): look there")
    else:
        said = zone.value if zone else "UTC"
        how = "" if said == "UTC" else f"; schedule with --server-time-zone {said}"
        yield ok("scheduler", f"its clock is in {said}{how}")


def _kinds(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    listing = cluster.extensions.list_custom_resource_definition(_request_timeout=TIMEOUT_S)
    there = {each.metadata.name for each in listing.items}
    needed = {
        "trainjobs.trainer.kubeflow.org": needs.several_nodes,
        "localqueues.kueue.x-k8s.io": needs.queue,
    }
    for name, hint in {**ALWAYS, **SOMETIMES}.items():
        if name in there:
            yield ok("kinds", name)
        elif name in ALWAYS or needed[name]:
            yield todo("kinds", f"{name} is missing: {hint}")
        else:
            yield note("kinds", f"{name} is not there: {hint}")


def _storage(cluster: Cluster) -> Iterator[Finding]:
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


def _claims(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    for name in needs.claims:
        claim = get(cluster.core.read_namespaced_persistent_volume_claim, name, needs.namespace)
        if claim is None:
            yield todo(
                "claims", f"{name} is not in {needs.namespace}: kubectl apply -k manifests/overlays/..."
            )
            continue
        modes = claim.spec.access_modes or []
        if claim.status.phase != "Bound":
            yield note("claims", f"{name} is {claim.status.phase}: it may wait for its first pod")
        elif "ReadWriteMany" not in modes:
            yield note("claims", f"{name} is {', '.join(modes)}: all tasks have to share one node")
        else:
            yield ok("claims", f"{name}, {claim.spec.resources.requests.get('storage')}, {', '.join(modes)}")


def _gpus(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    nodes = cluster.core.list_node(_request_timeout=TIMEOUT_S).items
    most: dict[str, int] = {}
    total: dict[str, int] = {}
    for node in nodes:
        for name, count in (node.status.allocatable or {}).items():
            if "/" in name and ("gpu" in name or "mig" in name) and count.isdigit():
                most[name] = max(most.get(name, 0), int(count))
                total[name] = total.get(name, 0) + int(count)
    for name, count in needs.gpus.items():
        if most.get(name, 0) < count:
            yield todo(
                "gpus",
                f"a pod asks for {count} of {name} and no node has more than {most.get(name, 0)}: add nodes "
                "and the vendor's device plugin, or ask for less in the placement",
            )
        else:
            yield ok("gpus", f"{total[name]} of {name}, at most {most[name]} a node; a pod asks for {count}")
    if not needs.gpus:
        said = ", ".join(f"{count} of {name}" for name, count in sorted(total.items()))
        yield ok("gpus", said) if said else note("gpus", f"none on {len(nodes)} nodes: trainings run on CPUs")


def _secrets(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    for need in needs.secrets:
        secret = get(cluster.core.read_namespaced_secret, need.name, needs.namespace)
        data = secret.data or {} if secret is not None else {}
        missing = [key for key in need.keys if key not in data]
        without = f"; without {', '.join(missing)}" if missing else ""
        keys = need.keys or ("HF_TOKEN",)
        literals = [f"--from-literal={key}=..." for key in (keys[:1] if need.optional else keys)]
        make = f"kubectl -n {needs.namespace} create secret generic {need.name} {' '.join(literals)}"
        if secret is None and need.optional:
            yield note("secrets", f"{need.name} is not in {needs.namespace}; it is optional: {make}")
        elif secret is None:
            yield todo(
                "secrets", f"{need.name} is not in {needs.namespace}, and no pod starts without: {make}"
            )
        elif missing and not need.optional:
            add = f"kubectl -n {needs.namespace} edit secret {need.name}"
            yield todo("secrets", f"{need.name}{without}, and no pod starts without: {add}")
        else:
            yield ok("secrets", f"{need.name}: {', '.join(sorted(data)) or 'no keys'}{without}")


def _account(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    if get(cluster.core.read_namespaced_service_account, "copg-runner", needs.namespace) is None:
        hint = "kubectl apply -k manifests/overlays/..., or run without --service-account"
        yield todo("account", f"copg-runner is not in {needs.namespace}: {hint}")
    else:
        yield ok("account", f"copg-runner in {needs.namespace}")


def _object_store(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    launcher = get(cluster.core.read_namespaced_config_map, "kfp-launcher", needs.namespace)
    root = (launcher.data or {}).get("defaultPipelineRoot") if launcher is not None else None
    if root and not root.startswith("minio://"):
        yield note("object store", f"artifacts go to {root}: not looked at from here; a first run shows it")
        return
    for name in STORES:
        if ready(cluster, name, needs.kfp_namespace):
            yield ok("object store", f"service {name} in {needs.kfp_namespace} is ready")
            return
    yield todo(
        "object store",
        f"no pod serves {' or '.join(STORES)}: kubectl -n {needs.kfp_namespace} get pods",
    )


def _mlflow(cluster: Cluster, needs: Needs) -> Iterator[Finding]:
    service = urlsplit(needs.tracking).hostname or ""
    if "." in service or not needs.tracking.startswith("http"):
        yield note("mlflow", f"tracking is {needs.tracking or 'a file'}: not looked at from here")
    elif ready(cluster, service, needs.namespace):
        yield ok("mlflow", f"service {service} in {needs.namespace} is ready")
    else:
        yield todo(
            "mlflow",
            f"service {service} in {needs.namespace} is not ready: kubectl apply -k manifests/overlays/..., "
            "or name your own server under placement.stores.tracking",
        )
