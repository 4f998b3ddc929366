"""Who may talk to whom, worked out from the network policies as a cluster would."""

import ipaddress
from typing import Any

import pytest

from tests.manifests.built import build

NAMESPACE = "kubeflow"
TASK = {"app.kubernetes.io/part-of": "copg", "pipelines.kubeflow.org/v2_component": "true"}
MLFLOW = {"app.kubernetes.io/part-of": "copg", "app.kubernetes.io/component": "mlflow"}
TRAINER = {"app.kubernetes.io/part-of": "copg", "app.kubernetes.io/component": "trainer"}
MYSQL = {"app": "mysql", "application-crd-id": "kubeflow-pipelines"}
Peer = dict[str, Any]


def pod(labels: dict[str, str], namespace: str = NAMESPACE) -> Peer:
    return {"labels": labels, "namespace": namespace}


def address(ip: str) -> Peer:
    return {"ip": ip}


DNS = pod({"k8s-app": "kube-dns"}, "kube-system")
HUB, METADATA, INTERNAL = address("13.33.1.1"), address("169.254.169.254"), address("10.1.2.3")


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "NotIn"
        if labels.get(rule["key"]) in rule["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def matches(peer: dict[str, Any], other: Peer, home: str) -> bool:
    if "ipBlock" in peer:
        if "ip" not in other:
            return False
        ip, block = ipaddress.ip_address(other["ip"]), peer["ipBlock"]
        outside = any(ip in ipaddress.ip_network(each) for each in block.get("except", []))
        return ip in ipaddress.ip_network(block["cidr"]) and not outside
    if "ip" in other:
        return False
    space = {"kubernetes.io/metadata.name": other["namespace"]}
    if "namespaceSelector" in peer:
        return selects(peer["namespaceSelector"], space) and selects(
            peer.get("podSelector", {}), other["labels"]
        )
    return other["namespace"] == home and selects(peer["podSelector"], other["labels"])


def allows(policies: list[Any], way: str, me: Peer, other: Peer, port: int, protocol: str) -> bool:
    """Whether the policies that select ``me`` let a packet pass; those of no policy are free."""
    mine = [p for p in policies if me.get("namespace") == p["metadata"]["namespace"]]
    mine = [
        p for p in mine if way in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], me["labels"])
    ]
    if not mine:
        return True
    rules = [rule for p in mine for rule in p["spec"].get(way.lower(), [])]
    peers = {"Egress": "to", "Ingress": "from"}[way]
    return any(
        any(matches(peer, other, me["namespace"]) for peer in rule[peers])
        and any(
            (each["port"], each["protocol"]) == (port, protocol)
            for each in rule.get("ports", [{"port": port, "protocol": protocol}])
        )
        for rule in rules
    )


def may(overlay: str, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    policies = [r for r in build(overlay) if r["kind"] == "NetworkPolicy"]
    out = "labels" not in source or allows(policies, "Egress", source, target, port, protocol)
    into = "labels" not in target or allows(policies, "Ingress", target, source, port, protocol)
    return out and into


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        (pod(TASK), DNS, 53, True),
        (pod(TASK), pod({"app": "ml-pipeline"}), 8887, True),
        (pod(TASK), pod({"app": "seaweedfs"}), 8333, True),
        (pod(TASK), pod(MLFLOW), 5000, True),
        (pod(TASK), HUB, 443, True),
        (pod(TASK), INTERNAL, 6443, True),  # the Kubernetes API
        (pod(TASK), pod(MYSQL), 3306, False),
        (pod(TASK), HUB, 80, False),
        (pod(TASK), METADATA, 80, False),
        (pod(TASK), METADATA, 443, False),
        (pod(TASK), pod(TASK), 29500, False),
        (pod(TASK), pod({"app": "shop"}, "elsewhere"), 443, False),
        (pod(MLFLOW), HUB, 443, False),
        (pod(MLFLOW), pod(MYSQL), 3306, False),
        (pod(MLFLOW), DNS, 53, True),
        (pod(MYSQL), pod(MLFLOW), 5000, False),
        (pod({}, "elsewhere"), pod(MLFLOW), 5000, False),
        (pod(TRAINER), pod(TRAINER), 29500, True),
        (pod(TRAINER), pod(TRAINER), 41234, True),  # NCCL and gloo choose ports
        (pod(TASK), pod(TRAINER), 29500, False),
        (pod(MYSQL), HUB, 25, True),  # KFP's own pods are none of our business
        (pod({"app": "ml-pipeline"}), pod(MYSQL), 3306, True),
    ],
)
def test_a_connection_is_allowed_or_not(source: Peer, target: Peer, port: int, expected: bool) -> None:
    protocol = "UDP" if port == 53 else "TCP"
    assert may("overlays/gpu", source, target, port, protocol) is expected


def test_without_a_way_out_only_private_addresses_are_reached() -> None:
    assert not may("overlays/airgap", pod(TASK), HUB, 443)
    for private in ("10.1.2.3", "172.20.0.1", "192.168.7.7"):
        assert may("overlays/airgap", pod(TASK), address(private), 443)
    assert may("overlays/airgap", pod(TASK), pod(MLFLOW), 5000)


def test_the_tasks_of_a_profile_reach_the_kfp_that_is_elsewhere() -> None:
    task, mlflow = pod(TASK, "team-a"), pod(MLFLOW, "team-a")
    assert may("overlays/profile", task, pod({"app": "ml-pipeline"}, "kubeflow"), 8887)
    assert may("overlays/profile", task, mlflow, 5000)
    assert not may("overlays/profile", task, pod(TASK, "team-b"), 8887)
    assert not may("overlays/profile", pod(TASK, "team-b"), mlflow, 5000)
