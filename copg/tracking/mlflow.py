"""The way to MLflow: loaded at the first use, its telemetry off, errors in one line.

SQLite files are opened by one process at a time: a new file is filled by a hundred migrations, which two
trials that start at once would both begin.
"""

import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from copg.errors import TrackingError

DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the working directory."""
_SQLITE = "sqlite:///"


def connect(uri: str) -> Any:
    """An ``MlflowClient`` for runs and registry at ``uri``; call it inside ``one_line_errors``.

    Three seconds go into loading MLflow, and a new SQLite file takes some seconds to fill.
    """
    _keep_quiet()
    from mlflow import MlflowClient
    from mlflow.telemetry import set_telemetry_client

    set_telemetry_client()  # takes a client away that an earlier import of MLflow may have made
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with exclusive(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)  # loads the SQL store


def _keep_quiet() -> None:
    # MLflow reads this variable at its import and at each event; it has no other switch.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


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
    """
    try:
        yield
    except OSError as error:
        raise TrackingError(f"tracking at {uri} cannot be opened: {error}") from None
    except Exception as error:
        if not _is_of_mlflow(error):
            raise
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
