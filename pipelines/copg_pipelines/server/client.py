"""The way to a KFP server: ``kfp_server_api`` with refusals, repetition and time limits that people can read.

``kfp.Client`` is not used: it makes requests while it is built, reads and writes a file in the home folder,
and knows neither time limits nor repetition.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import kfp_server_api as api

from copg_pipelines.server.connection import ClientError, Connection, Rest

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PAGE_SIZE = 100
LOOK_S = 1.0
"""Between two looks for what an unanswered request may have made."""
FAILED_AT_ONCE = (500, 502, 503)
"""Answers after which the server is at work no more; 504 is a time-out of reading, somewhere on the way."""


class Client:
    """The services of a KFP server, version v2beta1."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        configuration = api.Configuration(host=connection.host.rstrip("/"))
        configuration.ssl_ca_cert = str(connection.ca_cert) if connection.ca_cert else certifi.where()
        self._api = api.ApiClient(configuration, cookie=connection.cookie or None)
        self._api.rest_client = Rest(configuration, connection)
        self.pipelines = api.PipelineServiceApi(self._api)
        self.uploads = api.PipelineUploadServiceApi(self._api)
        self.runs = api.RunServiceApi(self._api)
        self.recurring = api.RecurringRunServiceApi(self._api)
        self.experiments = api.ExperimentServiceApi(self._api)
        self.health = api.HealthzServiceApi(self._api)

    @functools.cached_property
    def many_users(self) -> bool:
        """Whether the server has many users.

        That of one user cannot read the log of a pod that still runs: it asks for the pod in no namespace,
        which it may not (``getNamespaceFromRunId`` in ``backend/src/apiserver/resource`` of KFP 2.17.0).
        """
        return bool(self.health.healthz_service_get_healthz().multi_user)

    @functools.cached_property
    def namespace(self) -> str:
        """Of the user: as told, else on a multi-user server that of the pod this runs in.

        Raises:
            ClientError: the server has many users and none is named.
        """
        if self.connection.namespace or not self.many_users:
            return self.connection.namespace
        if POD_NAMESPACE.is_file():
            return POD_NAMESPACE.read_text().strip()
        raise ClientError(f"{self.connection.host} has many users: name yours with --namespace")

    def get(self, path: str) -> Any:
        """The JSON at an address that no service of v2beta1 covers."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """What is at an address that no service of v2beta1 covers."""
        url = f"{self.connection.host.rstrip('/')}{path}"
        data: bytes = self._api.rest_client.request("GET", url).data
        return data.decode("utf-8", "replace")

    def last_response(self) -> Any | None:
        """The answer to the latest request, with its headers."""
        return getattr(self._api, "last_response", None)


def every(listing: Callable[..., Any], field: str, **options: Any) -> Iterator[Any]:
    """What a listing holds, page after page.

    Args:
        listing: a method of a service that takes ``page_size`` and ``page_token``.
        field: of its answer.
        options: for the method.
    """
    token = ""
    while True:
        answer = listing(page_size=PAGE_SIZE, page_token=token, **options)
        yield from getattr(answer, field) or []
        token = answer.next_page_token or ""
        if not token:
            return


def made_once(client: Client, make: Callable[[], Any], find: Callable[[], Any], *, see: str) -> Any:
    """What ``make`` makes on the server; where its answer got lost, what it made all the same.

    A request that was not answered is never sent again, since the server may still be at work on it.

    Args:
        client: whose patience it takes.
        make: sends the request; the server makes another one each time.
        find: looks for what was made, by a name that is its own.
        see: the command that shows whether it was made.

    Raises:
        ClientError: the server refuses, or nothing was found as long as there was patience.
    """
    give_up = time.monotonic() + client.connection.patience_s
    try:
        return make()
    except ClientError as error:
        if not error.unsure:
            raise
        lost = error
    while (found := find()) is None:
        if lost.status in FAILED_AT_ONCE:
            return make()
        if time.monotonic() + LOOK_S > give_up:
            why = f"{lost}; it may have been started all the same: copg {see} shows it"
            raise ClientError(why, lost.status)
        time.sleep(LOOK_S)
    return found
