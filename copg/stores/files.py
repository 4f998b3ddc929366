"""Files of an object store, whose calls are made again while a fault lasts that passes.

A task whose program fails is not started again: only its pod may be lost. So a store or a network that is
away for a while is waited for here.
"""

import errno
import functools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isfinite
from typing import Any, TypeVar

from copg.errors import StoreError, nearest, without_secrets
from copg.stores.retrying import Busy, Retries

T = TypeVar("T")
RETRIES = Retries(first_s=1.0, longest_s=30.0, jitter=(0.5, 1.5), patience_s=600.0)
FIRST = Retries(first_s=1.0, longest_s=10.0, patience_s=60.0)
"""For a store before anything is computed: whoever began the run is still there to see to it."""
TOLD_S = 15.0
"""Seconds after which a call that has not come back is told; its client may wait for minutes."""
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


def reach_stores(locations: Iterable[str], *, retries: Retries = FIRST) -> None:
    """See that object stores answer, whatever they say: what they refuse is told where it is needed.

    Args:
        locations: paths, which are passed over, and URLs.
        retries: how long each store is waited for, also where its client would wait longer.

    Raises:
        StoreError: one does not answer, in one line.
    """
    for location in dict.fromkeys(each for each in locations if "://" in each):
        if problem := _unreached(location, retries):
            said = without_secrets(problem)
            told = f"{without_secrets(location)}: the store does not answer within {retries.patience_s:g} s"
            raise StoreError(f"{told} ({said}): see to its address and the network, and run again")


def _unreached(location: str, retries: Retries) -> str:
    """Why a store could not be asked, as far as that may pass; empty where it answered."""
    import fsspec

    problems: list[str] = []

    def ask() -> None:
        try:
            files, path = fsspec.url_to_fs(location)
            patiently(lambda: files.exists(path), what=location, retries=retries)
        except Exception as error:  # each client has its own
            if passes(error):
                problems.append(" ".join(f"{type(error).__name__}: {error}".split())[:MOST_SAID])

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(retries.patience_s)
    return "no reply" if asking.is_alive() and not problems else "".join(problems)


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


def patiently(
    ask: Callable[[], T], *, what: str, retries: Retries | None = None, told_s: float = TOLD_S
) -> T:
    """What ``ask`` returns, also when faults that pass come first.

    Args:
        what: is asked, for the line that says what is waited for.
        retries: how long.
        told_s: seconds after which a call that does not come back is told.

    Raises:
        Exception: what ``ask`` raised: a fault of another kind at once, one that passes when patience ends.
    """
    last: list[Exception] = []
    patience = retries or RETRIES
    end = time.time() + patience.patience_s

    def attempt() -> T:
        try:
            with _told_late(what, told_s):
                return ask()
        except Exception as error:
            if not passes(error):
                raise
            if not last:
                said = without_secrets(f"{type(error).__name__}: {error}")  # a library's, of any address
                reason = " ".join(said.split())[:200]
                until = f", until {_clock(end)}" if isfinite(patience.patience_s) else ""
                print(f"{what} did not work ({reason}); trying again{until}", file=sys.stderr, flush=True)
            last[:] = [error]
            raise Busy(error) from error

    try:
        return patience(attempt)
    except Busy:
        raise last[0] from None


@contextmanager
def _told_late(what: str, told_s: float) -> Iterator[None]:
    """Say that a call is waited for, once it takes longer than some seconds."""
    line = f"{what} has not come back for {told_s:g} s; waiting for it"
    timer = threading.Timer(told_s, partial(print, line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _clock(moment: float) -> str:
    """Time of day, with its zone."""
    return time.strftime("%H:%M:%S %Z", time.localtime(moment))


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
