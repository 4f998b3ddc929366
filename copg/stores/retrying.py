"""Requests that are sent again while whoever answers them is busy or away.

It lies in the leftmost room that talks to other machines, so that rewards, the webhook and the client of a
KFP server share it, and an engine behind an endpoint may.
"""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay

T = TypeVar("T")


class Busy(Exception):
    """An attempt failed, and another one may not."""

    def __init__(self, problem: object, *, least_s: float = 0.0, most_s: float = inf) -> None:
        """A pause before the next attempt that whoever answered asks for.

        Args:
            least_s: shortest pause, in seconds.
            most_s: longest pause, in seconds; 0: the next attempt is made at once.
        """
        super().__init__(str(problem))
        self.problem = problem
        self.least_s, self.most_s = least_s, most_s


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a request is sent, and with which pauses."""

    first_s: float
    """Before the second attempt; twice as long before each further one."""
    longest_s: float = inf
    jitter: tuple[float, float] = (1.0, 1.0)
    """Each pause is multiplied by a number drawn from this interval."""
    attempts: int = sys.maxsize
    patience_s: float = inf
    """No attempt begins later than this after the first one."""

    def __call__(self, send: Callable[[], T], *, sleep: Callable[[float], None] | None = None) -> T:
        """What ``send`` returns once it raises ``Busy`` no more.

        Args:
            sleep: how a pause is made, in seconds; what it raises ends the attempts.

        Raises:
            Busy: of the last attempt.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Busy),
            wait=self._pause,
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.patience_s),
            sleep=sleep or time.sleep,
            reraise=True,
        )
        return retrying(send)

    def _pause(self, state: RetryCallState) -> float:
        busy = state.outcome and state.outcome.exception()
        assert isinstance(busy, Busy)
        pause = min(self.first_s * 2.0 ** min(state.attempt_number - 1, 60), self.longest_s)
        return min(max(pause * random.uniform(*self.jitter), busy.least_s), busy.most_s)


def retry_after(asked: str | None, default_s: float) -> float:
    """Seconds that a ``Retry-After``, a number or a date, asks for; the default where it asks for nothing."""
    try:
        seconds = float(asked or default_s)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(asked)).timestamp() - time.time()
        except ValueError:
            return default_s
    return max(seconds, 0.0) if isfinite(seconds) else default_s
