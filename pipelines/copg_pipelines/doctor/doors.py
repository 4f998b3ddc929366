"""The five doors that a task needs, tried from a pod of ours, where network policies hold.

DNS, the Kubernetes API, KFP's API server (8887), its metadata store (8080) and the object store: the first
four as KFP 2.17's launcher names them (``backend/src/v2/config/env.go``, ``metadata/env.go``), the last from
``kfp-launcher``, or what the launcher takes without it (``objectstore/config.go``).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from kubernetes.client.exceptions import ApiException

from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, container_of, get
from copg_pipelines.doctor.requirements import Requirements

CONNECT_S = 5
"""How long a door may take to open, in seconds."""
DNS, API, SERVER, METADATA, STORE = "dns", "kubernetes api", "kfp api", "metadata", "object store"
DEFAULT_STORE = "seaweedfs.kubeflow:9000"
PUBLIC = {"s3": "s3.amazonaws.com:443", "gs": "storage.googleapis.com:443"}
"""Where the stores of clouds answer, unless ``kfp-launcher`` says otherwise."""
SCRIPT = f"""
import os, socket, sys, copg
print(copg.__version__)
for door in sys.argv[1:]:
    name, host, port = door.split("|")
    host = host or os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = port or os.environ.get("KUBERNETES_SERVICE_PORT", "")
    try:
        address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4]
        name == "{DNS}" or socket.create_connection(address[:2], {CONNECT_S}).close()
        fault = ""
    except (OSError, ValueError) as error:
        fault = " ".join(str(error).split()) or type(error).__name__
    print("door", name, fault, sep="|", flush=True)
"""
"""Run by a pod; tells each door with what is wrong, nothing for one that opens."""


class Door(NamedTuple):
    """An address that every task connects to."""

    name: str
    host: str
    """Empty: what Kubernetes tells every pod."""
    port: str

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}" if self.host else "the address that Kubernetes tells every pod"


def find_doors(cluster: Cluster, asked: Requirements) -> list[Door]:
    """The doors, in the order in which a task needs them."""
    domain = f"{asked.kfp_namespace}.svc.{_cluster_domain(cluster, asked)}"
    host, _, port = _store(_launcher(cluster, asked)).rpartition(":")
    return [
        Door(DNS, f"ml-pipeline.{domain}", "8887"),
        Door(API, "", ""),
        Door(SERVER, f"ml-pipeline.{domain}", "8887"),
        Door(METADATA, f"metadata-grpc-service.{domain}", "8080"),
        Door(STORE, host, port),
    ]


def command_of(doors: list[Door]) -> list[str]:
    """What a pod runs to try them."""
    return ["python3", "-c", SCRIPT, *("|".join(door) for door in doors)]


def read_doors(cluster: Cluster, doors: list[Door], log: str) -> Iterator[Finding]:
    """A finding for each door, from what the pod printed."""
    lines = [line.split("|", 2) for line in log.splitlines() if line.startswith("door|")]
    told = {line[1]: line[2] for line in lines if len(line) == 3}
    hints = platform_hints(cluster) if any(told.values()) else {}
    for door in doors:
        if door.name not in told:
            yield note("doors", f"{door.name}: the pod did not tell; its log is not what it should be")
        elif not told[door.name]:
            yield ok("doors", f"{door.name}: a pod of ours reaches {door.address}")
        else:
            more = "".join(f"; {hint}" for hint in hints.get(door.name, []))
            yield todo(
                "doors",
                f"{door.name}: a pod of ours cannot reach {door.address}: {told[door.name]}; allow it in the "
                f"NetworkPolicies of the namespace{more}",
            )


def platform_hints(cluster: Cluster) -> dict[str, list[str]]:
    """What is known of the platform, by door; read in its makers' sources, and seen by none of us."""
    try:
        listing = cluster.extensions.list_custom_resource_definition(_request_timeout=TIMEOUT_S)
    except ApiException:
        return {}
    kinds = [each.metadata.name for each in listing.items]
    found: dict[str, list[str]] = {}
    if any(kind.endswith(".cilium.io") for kind in kinds):
        found.setdefault(API, []).append(
            "under Cilium no ipBlock matches the API server (cilium/cilium#20550; read, not seen): add a "
            "CiliumNetworkPolicy with toEntities: [kube-apiserver], or set policyCIDRMatchMode: nodes"
        )
    if any(kind.endswith(".openshift.io") for kind in kinds):
        found.setdefault(DNS, []).append(
            "on OpenShift names are resolved by pods of openshift-dns at port 5353, which copg-dns does not "
            "allow (openshift/cluster-dns-operator; read, not seen)"
        )
    if "-gke." in str(cluster.version.get_code(_request_timeout=TIMEOUT_S).git_version):
        found.setdefault(DNS, []).append(
            "with Cloud DNS a GKE pod asks 169.254.169.254, which copg-dns does not allow (read, not seen)"
        )
        found.setdefault(STORE, []).append(
            "GKE gives credentials at 169.254.169.252:988, which copg-https does not allow (read, not seen)"
        )
    return found


def _cluster_domain(cluster: Cluster, asked: Requirements) -> str:
    try:
        container = container_of(cluster, "ml-pipeline", asked.kfp_namespace)
    except ApiException:
        container = None
    named = {each.name: each.value for each in (container.env if container is not None else None) or []}
    return str(named.get("CLUSTER_DOMAIN") or "cluster.local")


def _launcher(cluster: Cluster, asked: Requirements) -> Mapping[str, str]:
    try:
        found = get(cluster.core.read_namespaced_config_map, "kfp-launcher", asked.namespace)
    except ApiException:
        return {}
    return (found.data if found is not None else None) or {}


def _store(launcher: Mapping[str, str]) -> str:
    """Host and port of the object store, as the launcher finds them."""
    scheme = launcher.get("defaultPipelineRoot", "").partition("://")[0] or "minio"
    providers: Any = yaml.safe_load(launcher.get("providers") or "") or {}
    default = (providers.get(scheme) or {}).get("default") or {}
    endpoint = str(default.get("endpoint") or PUBLIC.get(scheme, DEFAULT_STORE))
    plain = endpoint.startswith("http://") or default.get("disableSSL")
    found = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    return f"{found.hostname}:{found.port or (80 if plain else 443)}"
