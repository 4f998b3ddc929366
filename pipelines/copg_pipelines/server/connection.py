"""Requests to a KFP server: who asks, for how long, how often again, and what to say when it refuses."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kfp_server_api.rest import RESTClientObject, RESTResponse

from copg.config import check_address
from copg.errors import CopgError
from copg.stores.retrying import Busy, Retries, retry_after
from copg_pipelines.target import check_number

POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where a pod that may talk to a multi-user server finds its token."""
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
AGAIN = (429, 500, 502, 503, 504)
ONLY_ONCE = ("/runs", "/recurringruns", ":retry", ":terminate")
"""Ends of addresses where a POST that is sent twice does its work twice or is refused; others name what they
make."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
"""Between two attempts, where there is patience for it."""
MAX_REASON = 300
SERVER = re.compile(r"https?://[^/\s]\S*")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ClientError(CopgError):
    """A KFP server cannot be reached, refuses, or a run on it did not succeed."""

    def __init__(self, message: str, status: int = 0, *, unsure: bool = False) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP; 0 where there was no answer."""
        self.unsure = unsure
        """The server may have done what was asked of it all the same."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where a KFP server is, and as whom to talk to it."""

    host: str = IN_CLUSTER
    """Address of the API, such as ``http://localhost:8888`` or ``https://kubeflow.example/pipeline``; that
    of ``ml-pipeline-ui`` serves it and the pages for people, that of ``ml-pipeline`` has no pages."""
    namespace: str = ""
    """Of the user on a multi-user server."""
    token_file: Path | None = None
    """Read for every request, since what writes it renews it."""
    token: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    """Of a login page in front of the server."""
    ca_cert: Path | None = None
    ui: str = ""
    """Address of the pages for people; empty: that of the API."""
    timeout_s: float = 30.0
    """Of one request."""
    patience_s: float = 60.0
    """For how long a request is repeated before it counts as failed."""

    def __post_init__(self) -> None:
        for name, address in (("host", self.host), ("ui", self.ui or self.host)):
            check_address(address, f"--{name}")
            if not address.startswith(("http://", "https://")):
                raise ClientError(f"{name}={address!r} must start with http:// or https://")
            if not SERVER.fullmatch(address):
                raise ClientError(f"{name}={address!r} names no machine, such as http://localhost:8888")
        if self.namespace and not NAMESPACE.fullmatch(self.namespace):
            raise ClientError(f"namespace={self.namespace!r} must be lower-case letters, digits and '-'")
        check_number("--request-timeout", self.timeout_s, "s", above=0.0)
        check_number("--patience", self.patience_s, "s", least=0.0)
        for name, path in (("token_file", self.token_file), ("ca_cert", self.ca_cert)):
            if path is not None and not path.is_file():
                raise ClientError(f"{name}={str(path)!r}: no such file")

    def bearer(self) -> str:
        """The token of this moment; empty: none."""
        file = self.token_file or (POD_TOKEN if not self.token and POD_TOKEN.is_file() else None)
        return file.read_text().strip() if file else self.token

    def page(self, kind: str, name: str) -> str:
        """Address of a page for people: of a run, an artifact, a schedule."""
        return f"{(self.ui or self.host).rstrip('/')}/#/{kind}/{name}"


class Rest(RESTClientObject):  # type: ignore[misc]  # it has no types
    """Sends requests: repeats those that may be repeated, and says in one line why one failed."""

    def __init__(self, configuration: Any, connection: Connection) -> None:
        super().__init__(configuration)
        self.connection = connection

    def request(
        self,
        method: str,
        url: str,
        query_params: Any = None,
        headers: Any = None,
        body: Any = None,
        post_params: Any = None,
        _preload_content: bool = True,
        _request_timeout: Any = None,
    ) -> RESTResponse:
        """The answer to one request, once it is a good one; see ``RESTClientObject``.

        Raises:
            ClientError: the server refused, or gave no answer for as long as the connection has patience.
        """
        patience_s = self.connection.patience_s
        retries = Retries(
            first_s=min(FIRST_PAUSE_S, patience_s / 20),
            longest_s=LONGEST_PAUSE_S,
            jitter=(0.75, 1.25),
            patience_s=patience_s,
        )
        repeatable = method in ("GET", "DELETE") or not url.partition("?")[0].endswith(ONLY_ONCE)
        try:
            return retries(
                lambda: self._answer(
                    repeatable, method, url, query_params, dict(headers or {}), body, post_params
                )
            )
        except Busy as busy:
            problem = busy.problem
            assert isinstance(problem, ClientError)
            problem.args = (f"{problem}; gave up after {patience_s:g} s",)
            raise problem from None

    def _answer(self, repeatable: bool, *request: Any) -> RESTResponse:
        """Of one attempt; ``Busy`` where another one may be made."""
        least_s = 0.0
        try:
            answer = self._send(*request)
        except urllib3.exceptions.HTTPError as error:
            never_arrived = isinstance(error, urllib3.exceptions.ConnectTimeoutError)
            again = (repeatable or never_arrived) and not isinstance(error, urllib3.exceptions.SSLError)
            problem = _no_answer(self.connection, error)
            problem.unsure = not repeatable and not never_arrived
        else:
            if 200 <= answer.status < 300 and "html" not in answer.headers.get("content-type", ""):
                return RESTResponse(answer)
            again = answer.status in AGAIN and (repeatable or answer.status == 429)
            problem = _refusal(self.connection, answer)
            problem.unsure = not repeatable and answer.status in AGAIN and answer.status != 429
            least_s = retry_after(answer.headers.get("retry-after"), 0.0)
        raise Busy(problem, least_s=least_s) if again else problem

    def _send(self, method: str, url: str, query: Any, headers: Any, body: Any, form: Any) -> Any:
        if token := self.connection.bearer():
            headers["Authorization"] = f"Bearer {token}"
        if query:
            url += "?" + urlencode(query)
        options: dict[str, Any] = {"body": None if body is None else json.dumps(body)}
        if headers.get("Content-Type") == "multipart/form-data":
            del headers["Content-Type"]  # urllib3 writes its own, with the boundary
            options = {"fields": form, "encode_multipart": True}
        timeout = urllib3.Timeout(
            connect=min(10.0, self.connection.timeout_s), read=self.connection.timeout_s
        )
        return self.pool_manager.request(
            method, url, headers=headers, timeout=timeout, retries=False, redirect=False, **options
        )


def _no_answer(connection: Connection, error: Exception) -> ClientError:
    host = connection.host
    if isinstance(error, urllib3.exceptions.SSLError):
        return ClientError(f"{host}: its certificate is not trusted: {error}; name its CA with --ca-cert")
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        hint = "is it up? to forward its port: kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8888:80"
        return ClientError(f"{host}: cannot be reached; {hint}")
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return ClientError(f"{host}: no answer within {connection.timeout_s:g} s")
    return ClientError(f"{host}: the connection broke: {error}")


def _refusal(connection: Connection, answer: Any) -> ClientError:
    host, status = connection.host, int(answer.status)
    said = _reason(answer.data)
    if status < 400:  # a login page, or the way to one
        where = answer.headers.get("location", "a page, not the API")
        return ClientError(
            f"{host} answers with {where.partition('?')[0]}: log in there and set KF_PIPELINES_COOKIE, "
            "or give a token with --token-file",
            401,
        )
    if status == 401:
        how = (
            "give a fresh token with --token-file"
            if connection.bearer()
            else "give a token with --token-file"
        )
        return ClientError(f"{host} does not know who you are (401): {how}{said and ': ' + said}", status)
    if status == 403:
        whose = f"namespace {connection.namespace!r}" if connection.namespace else "your --namespace"
        ask = f"ask its owner for the role kubeflow-edit in {whose}"
        return ClientError(f"{host} forbids this (403): {ask}{said and ': ' + said}", status)
    return ClientError(f"{host} answered {status}: {said or answer.reason}", status)


def _reason(data: bytes) -> str:
    """What a server says went wrong, in one line."""
    text = data.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, dict):
        found = found.get("message") or found.get("error_message") or found.get("error") or ""
    line = " ".join(str(found).split())
    return line if len(line) <= MAX_REASON else line[:MAX_REASON] + " ..."
