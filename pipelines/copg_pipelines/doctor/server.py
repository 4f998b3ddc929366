"""What ``doctor`` looks at on a KFP server: that it answers, clocks, rights and its version."""

import email.utils
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

from copg_pipelines.doctor.findings import Finding, note, ok, todo
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError

MAX_CLOCK_SKEW_S = 60.0
"""Object stores refuse signatures that are minutes off, and tokens are valid from a time on."""

VERSION = re.compile(r"v?(\d+\.\d+(?:\.\d+)?(?:[-+.]?[a-z].*)?)")


def check_server(client: Client) -> Iterator[Finding]:
    """That it answers, and what one may do there.

    Raises:
        ClientError: it does not answer, or refuses.
    """
    health = client.health.healthz_service_get_healthz()
    users = "many users" if health.multi_user else "one user"
    yield ok("server", f"{client.connection.host}, {users}, {health.pipeline_store or 'database'} store")
    yield from check_clock(client)
    yield from check_access(client)


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
    """The server's version where its older API tells it; builds without one say ``unknown``."""
    try:
        said = client.get("/apis/v1beta1/healthz")
        found = said.get("tag_name") or said.get("apiServerTagName")  # the latter where the UI passes it on
    except (ClientError, ValueError, AttributeError):
        return None
    return read_version(str(found))


def read_version(tag: str) -> str | None:
    """``2.17.0`` of a tag such as ``2.17.0`` or ``v2.17.0``; None of one that is no version."""
    found = VERSION.fullmatch(tag)
    return found[1] if found else None


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
