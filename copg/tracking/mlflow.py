"""The way to MLflow: loaded at the first use, its telemetry off, errors in one line.

SQLite files are opened by one process at a time: a new file is filled by a hundred migrations, which two
trials that start at once would both begin.
"""

import contextlib
import fcntl
import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from copg.artifacts import replacing
from copg.errors import TrackingError, disk_full
from copg.progress import warn
from copg.stores.retrying import Busy, Retries

DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the working directory."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""Half a minute of new attempts at a server that fails, unless the environment has others: MLflow's own go
on for minutes.
"""
_SQLITE = "sqlite:///"
_PORTS = {"http": 80, "https": 443}


def connect(uri: str, *, answer_s: float = 10.0) -> Any:
    """An ``MlflowClient`` for runs and registry at ``uri``; call it inside ``one_line_errors``.

    Three seconds go into loading MLflow, and a new SQLite file takes some seconds to fill.

    Args:
        uri: a server, or a database.
        answer_s: seconds in which a server that takes a connection has to say something, in the second
            attempt at the latest.
    """
    _keep_quiet()
    from mlflow import MlflowClient
    from mlflow.telemetry import set_telemetry_client

    set_telemetry_client()  # takes a client away that an earlier import of MLflow may have made
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _check_reachable(uri, answer_s)
    with exclusive(uri):
        if (path := sqlite_path(uri)) is not None:
            _make_whole(path)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)  # loads the SQL store


def _make_whole(path: Path) -> None:
    """Fill a new database beside its place, and replace one whose filling was cut short."""
    from mlflow import MlflowClient

    if path.exists() and not is_half_made(path):
        return
    if path.exists():
        left = path.with_name(f"{path.name}.half-made")
        told = "was left half made by a process that was killed, and holds no run and no model"
        warn(f"{path}: {told}; it is made anew, and lies in {left.name}")
        path.replace(left)
    with replacing(path) as part:
        part.touch()  # a folder that cannot be written is told by its own error
        MlflowClient(tracking_uri=f"{_SQLITE}{part}", registry_uri=f"{_SQLITE}{part}")


def is_half_made(path: Path) -> bool:
    """Whether a database is not as MLflow leaves one that it fills, and nothing would be lost with it.

    Raises:
        TrackingError: the file is no database.
    """
    import sqlite3

    import mlflow
    from alembic.script import ScriptDirectory

    def count(table: str) -> int:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    try:
        found = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=20.0)
        with contextlib.closing(found) as database:
            tables = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            }
            if any(count(table) for table in ("runs", "registered_models") if table in tables):
                return False
            if "alembic_version" not in tables or not count("alembic_version"):
                return True
            (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:  # busy, or not for us to write: MLflow will tell
        return False
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path}: cannot be read as a database ({error}); move it away and run again"
        ) from None
    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return bool(revision != migrations.get_current_head())


def _check_reachable(uri: str, answer_s: float) -> None:
    """Raise ``OSError`` within seconds where nothing listens or answers: MLflow would try for minutes."""
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise OSError(f"it is no address: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return
    host, path = parts.hostname, f"{parts.path.rstrip('/')}/health"
    try:
        Retries(attempts=3, first_s=1.0)(lambda: _knock(host, port))
        Retries(attempts=2, first_s=1.0)(lambda: _ask(parts.scheme, host, port, path, answer_s))
    except Busy as busy:
        raise OSError(str(busy)) from None


def _knock(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=5.0).close()
    except OSError as error:
        raise Busy(f"nothing answers at {host}:{port}: {error.strerror or error}") from None


def _ask(scheme: str, host: str, port: int, path: str, answer_s: float) -> None:
    """See that a server says anything at all, be it a refusal; its certificate is for MLflow to look at."""
    if scheme == "https":
        unverified = ssl._create_unverified_context()  # nothing is sent that anybody could read
        asked: HTTPConnection = HTTPSConnection(host, port, timeout=answer_s, context=unverified)
    else:
        asked = HTTPConnection(host, port, timeout=answer_s)
    with contextlib.closing(asked), contextlib.suppress(OSError, HTTPException):
        try:
            asked.request("GET", path)
            asked.getresponse()
        except TimeoutError:
            told = f"{host}:{port} accepts connections, and answers none within {answer_s:g} s"
            raise Busy(f"{told}: is it a tracking server, and has it workers left?") from None


def _keep_quiet() -> None:
    # MLflow reads these variables at its import and at each event and request; it has no other switch.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for variable, value in PATIENCE.items():
        os.environ.setdefault(variable, value)


def artifact_location(uri: str) -> str | None:
    """Where an experiment's files would go: beside a SQLite file; a server decides for itself.

    Without it MLflow notes the working directory of whoever came first.
    """
    path = sqlite_path(uri)
    return None if path is None else (path.parent / "mlflow-artifacts").absolute().as_uri()


def sqlite_path(uri: str) -> Path | None:
    """The file behind a ``sqlite:///`` address; None for anything else."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


@contextlib.contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """Keep other processes out while this one opens or registers; a server needs no such help."""
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into one line that says where.

    Raises:
        TrackingError: the server or file cannot be reached, or refused.
        DiskError: the disk of the file is full.
    """
    try:
        yield
    except OSError as error:
        raise disk_full(error) or TrackingError(f"tracking at {uri} cannot be opened: {error}") from None
    except Exception as error:
        if not _is_of_mlflow(error):
            raise
        if full := disk_full(error):
            raise full from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TrackingError(f"tracking at {uri} failed: {lines[0]}") from error


def _is_of_mlflow(error: Exception) -> bool:
    """True for errors of MLflow and of the database library under it, which it lets through."""
    modules = sys.modules
    kinds = [
        getattr(modules[name], kind)
        for name, kind in (("mlflow.exceptions", "MlflowException"), ("sqlalchemy.exc", "SQLAlchemyError"))
        if name in modules
    ]
    return isinstance(error, tuple(kinds))


def none_where(code: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """What the call gives; None where MLflow answers with the error ``code``."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*arguments)
    except MlflowException as error:
        if error.error_code != code:
            raise
        return None
