"""A cluster of stand-ins, and the address of its API, for the tests beside this file."""

from collections.abc import Iterator

import pytest

from tests.components.cluster.kubernetes_server import Cluster, kubernetes_server


@pytest.fixture
def cluster() -> Cluster:
    """What its API tells, and what it was asked."""
    return Cluster()


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    """Where the API answers."""
    with kubernetes_server(cluster) as url:
        yield url
