"""Requests to a chat endpoint: in parallel, within a rate and a budget, retried, cached on disk."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from http.client import HTTPException
from math import inf
from pathlib import Path
from typing import Any

from copg.digests import json_digest
from copg.errors import CopgError, DamageError, RewardError
from copg.lm.chat_api import Answer, excerpt, prompt_tokens, read_key, read_until
from copg.progress import track, warn
from copg.stores.retrying import Busy, Retries, retry_after
from copg.stores.sealed import read_sealed, write_sealed

RETRIES = Retries(attempts=6, first_s=1.0, longest_s=60.0, jitter=(0.5, 1.0))
LONGEST_ASKED_WAIT_S = 3600.0
"""An endpoint that asks for more is given up."""
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
OF_ONE_REQUEST = (400, 413, 422)
"""Refusals of what was sent, after which another request may be answered: too long, or not wanted."""
Accept = Callable[[str], bool]
Keep = Callable[[str, str], None]
CUT_OFF, FILTERED = "length", "content_filter"
"""Why an answer ended, as the API tells it."""


class _Refused(Exception):
    """One request is refused for good; another may be answered."""


class _Unusable(Busy):
    """An answer came, and nothing in it can be used."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class Endpoint:
    """One address, its key, its limits (as ``Judge`` documents them), and the answers it gave before.

    It is sent requests until one fails in all attempts, or is refused: that is an error. Where it ``bears``
    such failures, they are answers without a text.
    """

    address: str
    key_file: str | None
    cache: str | None
    max_requests: int | None
    requests_per_minute: float
    num_parallel: int
    timeout_s: float
    retries: Retries = RETRIES
    bears: bool = False
    error: type[CopgError] = RewardError
    """Raised for what it cannot go on with."""
    num_requests: int = 0
    """Sent until now, retries included."""
    num_answered: int = 0
    """Requests that got an answer which could be used."""

    def __post_init__(self) -> None:
        self._key = read_key(self.key_file, self.error)
        self._answers: dict[str, str] = {}
        self._next_start = 0.0
        self._last_problem = ""
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, bodies: Sequence[Mapping[str, Any]], *, accept: Accept) -> list[Answer]:
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
            needed = f"{len(missing)} requests are needed"
            raise self.error(f"{needed} and max_requests={self.max_requests} leaves {left}")
        each = self.answers({key: wanted[key] for key in missing}, accept=accept, keep=self._keep)
        found.update(track(each, "judge", total=len(missing)))
        return [found[key] for key in keys]

    def answers(
        self, bodies: Mapping[str, Mapping[str, Any]], *, accept: Accept, keep: Keep | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """The answer to each request under its key, as they come.

        Args:
            bodies: JSON of each request.
            accept: whether an answer can be used; one that cannot is asked for again.
            keep: called with each key and text at once, by whichever thread got it.

        Raises:
            CopgError: of the class ``error``, as for ``ask``.
        """
        self._given_up.clear()
        with ThreadPoolExecutor(self.num_parallel) as pool:
            more = (accept, keep)
            waiting = {pool.submit(self._answer, key, body, *more): key for key, body in bodies.items()}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            except BaseException:
                self._given_up.set()  # so that nobody sleeps on before the next attempt
                pool.shutdown(cancel_futures=True)
                raise

    def count_prompt(self, body: Mapping[str, Any]) -> int | None:
        """Tokens of the prompt of a request, which is sent once; None where no reply tells."""
        try:
            self._take_turn()
            return prompt_tokens(self._post(body))
        except (CopgError, OSError, HTTPException, ValueError, RecursionError):
            return None

    def _answer(self, key: str, body: Mapping[str, Any], accept: Accept, keep: Keep | None) -> Answer:
        def attempt() -> Answer:
            self._take_turn()
            try:
                answer = self._try(body)
                text = answer.text or ""
                if not accept(text):
                    raise _Unusable(f"answer {' '.join(text.split())[-80:]!r}", most_s=0.0)
            except Busy as busy:
                self._last_problem = str(busy)
                raise
            with self._lock:
                self.num_answered += 1
            if keep is not None:
                keep(key, text)
            return answer

        try:
            return self.retries(attempt, sleep=self._sleep)
        except _Unusable as problem:
            return Answer(None, str(problem))
        except (Busy, _Refused) as problem:
            times = f"{self.retries.attempts} attempts failed, the last with "
            tried = f"{times if isinstance(problem, Busy) else ''}{problem}"
            if self.bears:
                return Answer(None, tried)
            raise self.error(f"{self.address}: {tried}") from None

    def _sleep(self, seconds: float) -> None:
        if self._given_up.wait(seconds):
            raise self.error(f"{self.address}: given up with another request that failed")

    def _try(self, body: Mapping[str, Any]) -> Answer:
        try:
            return self._send(body)
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}: {excerpt(error)}"
            if error.code in OF_ONE_REQUEST:
                raise _Refused(problem) from None
            if error.code not in RETRIED:
                raise self.error(f"{self.address}: {problem}") from None
            asked = error.headers.get("Retry-After")
            asked_s = retry_after(asked, 0.0)
            if asked_s > LONGEST_ASKED_WAIT_S:
                raise self.error(
                    f"{self.address}: asks to wait for {asked_s:.0f} s, with {problem}"
                ) from None
            raise Busy(problem, least_s=asked_s, most_s=retry_after(asked, inf)) from None
        except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
            raise Busy(f"{type(error).__name__}: {error}") from None

    def _post(self, body: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers, method="POST")
        until = time.monotonic() + self.timeout_s
        with self._opener.open(request, timeout=self.timeout_s) as reply:
            return json.loads(read_until(reply, until))

    def _send(self, body: Mapping[str, Any]) -> Answer:
        reply = self._post(body)
        choice = reply["choices"][0]
        message, ended = dict(choice["message"]), choice.get("finish_reason")
        if message.get("tool_calls") or message.get("function_call"):
            raise _Unusable("the reply calls tools, which its text does not tell", most_s=0.0)
        content = message.get("content")
        if not isinstance(content, str) or ended == FILTERED:
            why = message.get("refusal") or ended or "without a reason"
            raise ValueError(f"the reply holds no text: {why!s:.80}")
        return Answer(content, finished=ended != CUT_OFF, prompt_tokens=prompt_tokens(reply))

    def _take_turn(self) -> None:
        """Take one request off the budget, and wait until the rate allows it."""
        with self._lock:
            if self.max_requests is not None and self.num_requests >= self.max_requests:
                why = f", the last retry was for {self._last_problem}" if self._last_problem else ""
                raise self.error(f"max_requests={self.max_requests} is spent{why}")
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
            warn(str(error))
            return None
        return answer if isinstance(answer, str) else None

    def _keep(self, key: str, text: str) -> None:
        if self.cache is None:
            self._answers[key] = text
            return
        write_sealed(Path(self.cache, key[:2], f"{key}.json"), {"answer": text})
