"""What the overlay promises of the cluster itself: rights, walls, MLflow."""

import pytest

from tests.cluster.cluster import API, TRAINJOBS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

CONNECT = "import socket; socket.create_connection(({host!r}, {port}), timeout=5)"


@pytest.mark.parametrize(
    ("verb", "what", "expected"),
    [
        ("create", "workflowtaskresults.argoproj.io", True),
        ("get", "secrets", False),
        ("delete", "deployments.apps", False),
        ("create", "pods", False),
    ],
)
def test_a_task_may_do_what_it_needs_and_no_more(
    cluster: Cluster, verb: str, what: str, expected: bool
) -> None:
    assert cluster.may(verb, what) is expected


def test_only_the_component_of_several_nodes_lets_a_task_create_trainjobs(cluster: Cluster) -> None:
    given = cluster.kubectl("get", "roles", "copg-runner", "--ignore-not-found", "-o", "name").strip()
    assert cluster.may("create", TRAINJOBS) is bool(given)


def test_mlflow_runs_and_our_pods_reach_it(ready: Cluster) -> None:
    ready.kubectl("rollout", "status", "deployment/copg-mlflow", "--timeout=600s")
    script = (
        "import urllib.request as r; print(r.urlopen('http://copg-mlflow:5000/health', timeout=10).read())"
    )
    assert "OK" in ready.sh(f'python3 -c "{script}"')


def test_our_pods_reach_kfp_and_not_its_database(ready: Cluster) -> None:
    ready.sh(f'python3 -c "{CONNECT.format(host=f"ml-pipeline.{API[0]}", port=8888)}"')
    said = ready.sh(f'python3 -c "{CONNECT.format(host=f"mysql.{API[0]}", port=3306)}"', check=False)
    assert "timed out" in said, f"MySQL is not walled off: does the network plug-in hold policies? {said}"
    said = ready.sh(f'python3 -c "{CONNECT.format(host="169.254.169.254", port=80)}"', check=False)
    assert "rror" in said, "the machine's metadata are reached"  # on kind there are none anyway


def test_a_pod_is_as_restricted_as_its_manifest_says(ready: Cluster) -> None:
    said = ready.sh(
        "id -u; touch /written 2>&1 || true; cat /proc/self/status | grep -E 'NoNewPrivs|CapEff|Seccomp:'"
    )
    assert said.split()[0] == "65532"
    assert "Read-only file system" in said
    status = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), status["Seccomp"]) == ("1", 0, "2")
