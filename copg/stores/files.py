"""Files of an object store, whose calls are made again while a fault lasts that passes.

A task whose program fails is not started again: only its pod may be lost. So a store or a network that is
away for a while is waited for here.
"""

import errno
import functools
import socket
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from copg.errors import StoreError, nearest, without_secrets
from copg.stores.retrying import Busy, Retries

T = TypeVar("T")
RETRIES = Retries(first_s=1.0, longest_s=30.0, jitter=(0.5, 1.5), patience_s=600.0)
NUMBERS = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ECONNABORTED,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ETIMEDOUT,
    socket.EAI_AGAIN,
}
NAMES = {
    "ClientConnectionError",  # aiohttp, under the file systems of S3 and of Google
    "ClientPayloadError",
    "HTTPClientError",  # botocore
    "ConnectionError",
    "Timeout",  # requests
    "TransportError",  # httpx, under the model hub
}
"""Of classes in libraries that may not be installed."""
OF_NAMES = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
MOST_SAID = 500
"""Characters of what a client says."""
OF_TASKS = ("minio",)
"""Schemes that the programs of tasks on a cluster bring along."""
BROUGHT = {"abfss": "adlfs"}
"""Schemes of which fsspec learns from the library that reads them, and that library."""
ASKED_FOR = "OfflineModeIsEnabled"
"""Of the model hub, where the user wants no network."""
STATUSES = {408, 429, 500, 502, 503, 504}


def open_files(location: str) -> tuple[Any, str]:
    """The file system of a path or URL, as fsspec knows it, and the path within; a store's is patient.

    Raises:
        StoreError: no file system has the URL's scheme, or its library is not installed.
    """
    import fsspec

    check_scheme(location, library=True)
    fs, path = fsspec.url_to_fs(location)
    return (fs if "file" in fs.protocol else PatientFiles(fs)), path


def check_scheme(location: str, *, library: bool) -> None:
    """See that a file system reads an address, without asking it anything.

    Args:
        location: path or URL.
        library: whether the library of the scheme must be installed here.

    Raises:
        StoreError: there is none, or its library is missing.
    """
    from fsspec.registry import get_filesystem_class, known_implementations, registry

    scheme = location.partition("://")[0].rpartition("::")[2]
    if "://" not in location or "/" in scheme:
        return
    known = {*known_implementations, *registry}
    if scheme in BROUGHT and scheme not in known:
        if library:
            missing = f"needs a library that is missing: pip install {BROUGHT[scheme]}"
            raise StoreError(f"{location!r}: {scheme}:// {missing}")
        return
    if scheme not in known and (library or scheme not in OF_TASKS):
        told = f"{location!r}: no file system is called {scheme!r}; use a path, s3://, gs:// or abfs://"
        raise StoreError(f"{told}{nearest(scheme, sorted(known))}")
    try:
        if library:
            get_filesystem_class(scheme)
    except ImportError as error:
        raise StoreError(f"{location!r}: {scheme}:// needs a library that is missing: {error}") from None


class PatientFiles:
    """A file system of fsspec, each call of which waits for a store that is away; what is opened does not.

    What a store refuses, or what fails to the last attempt, is a ``StoreError`` of one line, whatever its
    client raises; what the calls of every file system raise of names (``OF_NAMES``) stays as it is.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fs, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*args: Any, **options: Any) -> Any:
            try:
                return patiently(lambda: found(*args, **options), what=f"{self._fs.protocol}: {name}")
            except OF_NAMES:
                raise
            except Exception as error:  # each client has its own
                scheme = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
                said = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_SAID]
                told = f"the store at {scheme}:// did not do '{name}' ({said})"
                raise StoreError(f"{told}: see to its address, keys and rights, and run again") from None

        return call


def patiently(ask: Callable[[], T], *, what: str, retries: Retries | None = None) -> T:
    """What ``ask`` returns, also when faults that pass come first.

    Args:
        what: is asked, for the line that says what is waited for.
        retries: how long.

    Raises:
        Exception: what ``ask`` raised: a fault of another kind at once, one that passes when patience ends.
    """
    last: list[Exception] = []

    def attempt() -> T:
        try:
            return ask()
        except Exception as error:
            if not passes(error):
                raise
            if not last:
                said = without_secrets(f"{type(error).__name__}: {error}")  # a library's, of any address
                reason = " ".join(said.split())[:200]
                print(f"{what} did not work ({reason}); trying again", file=sys.stderr, flush=True)
            last[:] = [error]
            raise Busy(error) from error

    try:
        return (retries or RETRIES)(attempt)
    except Busy:
        raise last[0] from None


def passes(error: BaseException) -> bool:
    """Whether a fault is one of network or store that another attempt may not meet."""
    if type(error).__name__ == ASKED_FOR:
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in NUMBERS:
        return True
    answered = getattr(error, "response", None)
    status = getattr(answered, "status_code", None) or getattr(error, "status", None)
    if status is not None:
        return status in STATUSES
    return any(each.__name__ in NAMES for each in type(error).__mro__)
