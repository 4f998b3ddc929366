"""Addresses that are spelt like folders, ``s3:/bucket``, and addresses where none is read."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from copg.errors import ADDRESS, ConfigError
from copg.run.shared import value_at

_OF_FILES = ("s3", "s3a", "gs", "gcs", "minio", "abfs", "abfss", "az", "adl", "hdfs")
STORES = (*_OF_FILES, "http", "https")
"""Schemes after whose two slashes a bucket or a server comes."""
RIGHT = {"file": (2, 3), "sqlite": (3, 4)}
"""Slashes of addresses of files, which may name a machine, or a path from the root; of all others two."""
_START = re.compile(rf"({'|'.join((*STORES, *RIGHT))})(:[/\\]*|[/\\]{{2,}})(?=\S)", re.IGNORECASE)
MODELS = ("model", "train.start_from", "reward.model", "sample.model", "validate.reader.model")
"""Settings that may name a model: a folder, or something on the hub."""
READ_HERE = ("records", *MODELS)
"""Settings that name files, a folder or something on the hub, and never an address."""
TRACKERS = ("tracking", "train.tracking.uri", "promote.tracking_uri")
"""Settings that name a tracking server or its database."""
MACHINE = re.compile(r"[\w.-]+:\d+(/.*)?")
"""A server without its scheme."""
HOLDS_FILES = re.compile(rf"({'|'.join((*_OF_FILES, 'ftp', 'ftps', 'sftp'))})://")
"""Addresses of places where no MLflow keeps runs."""
DATABASES = (".db", ".sqlite", ".sqlite3")
"""How files of SQLite end."""
MANAGED = "databricks"
"""How MLflow calls a tracking server of which its client knows the address."""
OF_CODE = "name"
"""Setting that may hold ``module:function``, in which a colon is none of an address."""


def address_meant(text: str) -> str:
    """The address that a text is but for its slashes; empty where it is one, or none is meant."""
    found = _START.match(text)
    if found is None or "\n" in text:
        return ""
    scheme, between, rest = found[1].lower(), found[2], text[found.end() :]
    if not rest.strip("/\\"):
        return ""  # nothing is named
    if between == ":" and (" " in rest or rest.isdecimal()):
        return ""  # words after a colon, or a port
    num_slashes = len(between.removeprefix(":"))
    if between == f":{'/' * num_slashes}" and num_slashes in RIGHT.get(scheme, (2,)):
        return ""
    if scheme == "sqlite" and num_slashes == 1:
        return f"sqlite:////{rest}"  # whose fourth slash is that of a path from the root
    return f"{scheme}:{'///' if scheme in RIGHT else '//'}{rest}"


def is_address(text: str) -> bool:
    """Whether a text is an address, be it spelt wrongly."""
    return bool(ADDRESS.match(text) or address_meant(text))


def check_spelling(value: Any, where: str) -> None:
    """Refuse an address whose slashes are too few or too many: it would be taken for a folder.

    Args:
        value: a setting, or several of them.
        where: how the user calls it, for the message; empty for the whole of a recipe.

    Raises:
        ConfigError: names the setting and the spelling that is meant, of all of them.
    """
    if mistakes := [*misspelt(value, where)]:
        raise ConfigError("; ".join(mistakes))


def misspelt(value: Any, where: str) -> Iterator[str]:
    """A line for each; arguments as those of ``check_spelling``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from misspelt(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from misspelt(item, f"{where}.{place}")
    elif isinstance(value, str) and (meant := address_meant(value)):
        if where.rpartition(".")[2] == OF_CODE and "/" not in value:
            return
        start = _START.match(value)
        begins = start[0] if start else ""
        # the rest is told as an address alone, of which no secret is ever printed
        yield f"{where} begins with {begins!r}, as a folder may and no address: did you mean {meant!r}?"
    elif isinstance(value, str) and _names_nothing(value):
        yield f"{where}={value!r} names nothing behind its scheme: a bucket, a server or a path is missing"


def of_trackers(values: Mapping[str, Any]) -> Iterator[str]:
    """A line for each setting of a recipe that names no server and no database, where MLflow needs one.

    Args:
        values: of a recipe, its sections among them.
    """
    for key in TRACKERS:
        value = value_at(values, key)
        if isinstance(value, str) and (mistake := tracker_mistake(value)):
            yield f"{key}={mistake}"


def tracker_mistake(value: str) -> str:
    """What is wrong with the address of an MLflow server or its database, which it begins with; empty
    where nothing is, or ``check_spelling`` tells.
    """
    if not value or address_meant(value):
        return ""
    if MACHINE.fullmatch(value):
        return f"{value!r} has no scheme: did you mean 'http://{value}'?"
    if HOLDS_FILES.match(value):
        return f"{value!r} holds files: name an MLflow server, http://HOST:PORT, or sqlite:///FILE"
    if value.startswith("file:") or (":" not in value and value != MANAGED):
        path = PurePosixPath(re.sub("^file:(//)?", "", value))
        file = path if path.suffix in DATABASES else path / "mlflow.db"
        told = "is a path, and MLflow asks for a server or a database"
        return f"{value!r} {told}: did you mean 'sqlite:///{file}'?"
    return ""


def _names_nothing(text: str) -> bool:
    found = ADDRESS.fullmatch(text)
    return found is not None and found[1].lower() in (*STORES, *RIGHT) and not found[2].strip("/")


def read_nowhere(values: Mapping[str, Any]) -> Iterator[str]:
    """A line for each address where files of this machine or a name of the hub are asked for.

    Args:
        values: of a recipe, its sections among them.
    """
    for key in READ_HERE:
        value = value_at(values, key)
        if isinstance(value, str) and ADDRESS.match(value):
            kind = "records are read from files" if key == "records" else "a model is read from a folder"
            yield (
                f"{key}={value!r} is an address: {kind} that the tasks see, or by its name from the hub: "
                "copy it to such a place, or mount it there"
            )
