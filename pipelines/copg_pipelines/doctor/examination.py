"""Everything that ``doctor`` looks at, in the order in which it fails."""

from collections.abc import Callable, Iterator

from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from copg_pipelines.doctor.cluster import CHECKS, installed_version
from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.doctor.image import check_image
from copg_pipelines.doctor.kube import TIMEOUT_S, Cluster, why
from copg_pipelines.doctor.requirements import Requirements
from copg_pipelines.doctor.server import check_server, check_versions, server_version
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError


def examine(client: Client, connect: Callable[[], Cluster] | None, asked: Requirements) -> Iterator[Finding]:
    """A KFP server and its cluster: each line says that something is well, or what to do.

    Args:
        client: of the server.
        connect: gives the way to the cluster; None: do not look at it.
        asked: what the runs will ask of it.
    """
    server = None
    try:
        yield from check_server(client)
        server = server_version(client)
    except ClientError as error:
        yield todo("server", str(error))
    if connect is None:
        yield check_versions(server)
    else:
        yield from examine_cluster(connect, asked, server)


def examine_cluster(
    connect: Callable[[], Cluster], asked: Requirements, server: str | None
) -> Iterator[Finding]:
    """Each check on its own: one that may not look says so, and the others go on."""
    try:
        cluster = connect()
        found = cluster.version.get_code(_request_timeout=TIMEOUT_S)
        yield ok("kubernetes", f"{found.git_version}")
    except (ConfigException, HTTPError, ApiException, OSError, ValueError) as error:
        yield check_versions(server)
        yield todo("kubernetes", f"{why(error)}; name a context with --kube-context, or add --no-cluster")
        return
    checks: dict[str, Callable[[Cluster, Requirements], Iterator[Finding]]] = {
        "versions": lambda *there: iter([check_versions(server or installed_version(*there))]),
        **CHECKS,
        "image": check_image,
    }
    for name, check in checks.items():
        try:
            yield from check(cluster, asked)
        except ApiException as error:
            yield note(name, f"cannot be looked at: {why(error)}")
        except (HTTPError, OSError) as error:
            yield todo(name, f"the cluster does not answer: {why(error)}")
