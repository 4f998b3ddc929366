"""Requests to a chat endpoint: in parallel, within a rate and a budget, retried, cached on disk."""

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from math import inf
from pathlib import Path
from typing import Any

from copg.digests import json_digest
from copg.errors import DamageError, RewardError
from copg.progress import track
from copg.stores.retrying import Busy, Retries, retry_after
from copg.stores.sealed import read_sealed, write_sealed

RETRIES = Retries(attempts=6, first_s=1.0, longest_s=60.0, jitter=(0.5, 1.0))
LONGEST_ASKED_WAIT_S = 3600.0
"""An endpoint that asks for more is given up."""
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, or why there is nothing to read."""

    text: str | None
    problem: str = ""


class _Unusable(Busy):
    """An answer came, and nothing in it can be used."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class Endpoint:
    """One address, its key, its limits (as ``Judge`` documents them), and the answers it gave before."""

    address: str
    key_file: str | None
    cache: str | None
    max_requests: int | None
    requests_per_minute: float
    num_parallel: int
    timeout_s: float
    retries: Retries = RETRIES
    num_requests: int = 0
    """Sent until now, retries included."""

    def __post_init__(self) -> None:
        self._key = _read_key(self.key_file)
        self._answers: dict[str, str] = {}
        self._next_start = 0.0
        self._last_problem = ""
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, bodies: Sequence[Mapping[str, Any]], *, accept: Callable[[str], bool]) -> list[Answer]:
        """The answer to each request; equal requests are sent once, answers in the cache not at all.

        Args:
            bodies: JSON of each request.
            accept: whether an answer can be used; one that cannot is asked for again.

        Raises:
            RewardError: the endpoint refuses or cannot be reached, or the budget does not suffice.
        """
        keys = [json_digest({"address": self.address, "body": dict(body)}) for body in bodies]
        wanted = dict(zip(keys, bodies, strict=True))
        found = {key: Answer(text) for key in wanted if (text := self._cached(key)) is not None}
        missing = [key for key in wanted if key not in found]
        left = None if self.max_requests is None else self.max_requests - self.num_requests
        if left is not None and len(missing) > left:
            raise RewardError(
                f"{len(missing)} requests are needed and max_requests={self.max_requests} leaves {left}"
            )
        self._given_up.clear()
        with ThreadPoolExecutor(self.num_parallel) as pool:
            waiting = [pool.submit(self._answer, key, wanted[key], accept) for key in missing]
            try:
                for key, future in track(zip(missing, waiting, strict=True), "judge", total=len(missing)):
                    found[key] = future.result()
            except BaseException:
                self._given_up.set()  # so that nobody sleeps on before the next attempt
                pool.shutdown(cancel_futures=True)
                raise
        return [found[key] for key in keys]

    def _answer(self, key: str, body: Mapping[str, Any], accept: Callable[[str], bool]) -> Answer:
        def attempt() -> Answer:
            self._take_turn()
            try:
                text = self._try(body)
                if not accept(text):
                    raise _Unusable(f"answer {' '.join(text.split())[-80:]!r}", most_s=0.0)
            except Busy as busy:
                self._last_problem = str(busy)
                raise
            self._keep(key, text)
            return Answer(text)

        try:
            return self.retries(attempt, sleep=self._sleep)
        except _Unusable as problem:
            return Answer(None, str(problem))
        except Busy as problem:
            tried = f"{self.retries.attempts} attempts failed, the last with {problem}"
            raise RewardError(f"{self.address}: {tried}") from None

    def _sleep(self, seconds: float) -> None:
        if self._given_up.wait(seconds):
            raise RewardError(f"{self.address}: given up with another request that failed")

    def _try(self, body: Mapping[str, Any]) -> str:
        try:
            return self._send(body)
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}: {_excerpt(error)}"
            if error.code not in RETRIED:
                raise RewardError(f"{self.address}: {problem}") from None
            asked = error.headers.get("Retry-After")
            asked_s = retry_after(asked, 0.0)
            if asked_s > LONGEST_ASKED_WAIT_S:
                raise RewardError(
                    f"{self.address}: asks to wait for {asked_s:.0f} s, with {problem}"
                ) from None
            raise Busy(problem, least_s=asked_s, most_s=retry_after(asked, inf)) from None
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            raise Busy(f"{type(error).__name__}: {error}") from None

    def _send(self, body: Mapping[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers, method="POST")
        with self._opener.open(request, timeout=self.timeout_s) as reply:
            content = json.loads(reply.read())["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise ValueError("the reply holds no text")
        return content

    def _take_turn(self) -> None:
        """Take one request off the budget, and wait until the rate allows it."""
        with self._lock:
            if self.max_requests is not None and self.num_requests >= self.max_requests:
                raise RewardError(
                    f"max_requests={self.max_requests} is spent, the last retry was for {self._last_problem}"
                )
            self.num_requests += 1
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + (60 / self.requests_per_minute if self.requests_per_minute else 0.0)
        time.sleep(start - now)

    def _cached(self, key: str) -> str | None:
        if self.cache is None:
            return self._answers.get(key)
        path = Path(self.cache, key[:2], f"{key}.json")
        try:
            answer = read_sealed(path, remedy="it counts as absent: the judge is asked again").get("answer")
        except DamageError as error:
            print(f"warning: {error}", file=sys.stderr, flush=True)
            return None
        return answer if isinstance(answer, str) else None

    def _keep(self, key: str, text: str) -> None:
        if self.cache is None:
            self._answers[key] = text
            return
        write_sealed(Path(self.cache, key[:2], f"{key}.json"), {"answer": text})


def _read_key(key_file: str | None) -> str | None:
    if key_file is None:
        return None
    try:
        key = Path(key_file).read_text().strip()
    except OSError as error:
        raise RewardError(f"key_file={key_file}: cannot be read: {error.strerror}") from None
    if not key:
        raise RewardError(f"key_file={key_file}: is empty")
    return key


def _excerpt(error: urllib.error.HTTPError) -> str:
    with error:
        return " ".join(error.read(2000).decode(errors="replace").split())[:120]
