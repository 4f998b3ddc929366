"""Looks at a KFP server and its cluster for what a run needs: each line says well, or what to do."""

import email.utils
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError

MAX_CLOCK_SKEW_S = 60.0
"""Object stores refuse signatures that are minutes off, and tokens are valid from a time on."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found."""

    name: str
    text: str
    """What is there; for one that is not well, what to do."""
    well: bool | None
    """None: it could not be looked at, or does not matter to every recipe."""

    def line(self) -> str:
        """``ok    storage: ...``; ``todo`` for what is to be done, ``note`` for what may matter."""
        word = {True: "ok", False: "todo", None: "note"}[self.well]
        return f"{word:<6}{self.name}: {self.text}"


def ok(name: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(name, text, True)


def todo(name: str, text: str) -> Finding:
    """Something that runs need and that is not there."""
    return Finding(name, text, False)


def note(name: str, text: str) -> Finding:
    """Something that could not be looked at, or that only some recipes need."""
    return Finding(name, text, None)


def examine(client: Client, cluster: Callable[[], Any] | None, needs: Any) -> Iterator[Finding]:
    """Everything there is to look at, in the order in which it fails.

    Args:
        client: of the server.
        cluster: gives the way to the cluster, see ``kube``; None: do not look at it.
        needs: what the runs will ask of it, a ``kube.Needs``.
    """
    server = None
    try:
        health = client.health.healthz_service_get_healthz()
        users = "many users" if health.multi_user else "one user"
        yield ok("server", f"{client.connection.host}, {users}, {health.pipeline_store or 'database'} store")
        yield from check_clock(client)
        yield from check_access(client)
        server = server_version(client)
    except ClientError as error:
        yield todo("server", str(error))
    if cluster is None:
        yield check_versions(server)
        return
    from copg_pipelines.doctor.cluster import examine_cluster

    yield from examine_cluster(cluster, needs, server)


def check_access(client: Client) -> Iterator[Finding]:
    """Whether one may do what runs and schedules take."""
    try:
        client.runs.run_service_list_runs(namespace=client.namespace, page_size=1)
        yield ok("access", f"may list runs{f' in namespace {client.namespace}' if client.namespace else ''}")
    except ClientError as error:
        yield todo("access", str(error))


def check_clock(client: Client) -> Iterator[Finding]:
    """How far this machine's clock and the server's are apart."""
    response = client.last_response()
    said = response.getheader("date") if response is not None else None
    if said is None:
        yield note("clock", "the server does not tell the time")
        return
    apart = (datetime.now(UTC) - email.utils.parsedate_to_datetime(said)).total_seconds()
    if abs(apart) > MAX_CLOCK_SKEW_S:
        yield todo("clock", f"this machine and the server are {apart:+.0f} s apart: set both by NTP")
    else:
        yield ok("clock", f"{abs(apart):.0f} s apart from the server's")


def server_version(client: Client) -> str | None:
    """The server's version where its older API tells it."""
    try:
        said = client.get("/apis/v1beta1/healthz")
        found = said.get("tag_name") or said.get("apiServerTagName")  # the latter where the UI passes it on
    except (ClientError, ValueError, AttributeError):
        return None
    return str(found) if found else None


def check_versions(server: str | None) -> Finding:
    """Whether this machine's ``kfp`` and the server are of one minor version."""
    here = version("kfp")
    if server is None:
        return note("versions", f"kfp {here} here; the server does not tell its own: look at its image's tag")
    if server.split(".")[:2] != here.split(".")[:2]:
        return todo(
            "versions",
            f"kfp {here} here and {server} on the server: install the same (settings such as GPUs get lost "
            f"between them): pip install kfp=={server}, or upgrade the server",
        )
    return ok("versions", f"kfp {here} here, {server} on the server")
