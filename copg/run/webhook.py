"""A word to whoever waits for nothing: a failed or unpromoted run, posted as JSON to a webhook.

Its address is a secret (who knows it may post), so no message here repeats it.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 10.0
PAUSE_S = 1.0
"""Before the second attempt; doubled for the third."""


def message_of(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What there is to tell about a run; None for one that was promoted.

    Args:
        summary: contents of ``summary.json``.
    """
    failure = summary.get("failure")
    if failure is None and summary.get("promoted"):
        return None
    name, run = summary.get("name"), summary.get("run")
    if failure is not None:
        trial = f", trial {failure['trial']}" if failure.get("trial") else ""
        event, state, what = "failed", "failed", f"stage {failure['stage']}{trial}: {failure['cause']}"
    else:
        event, state = "unpromoted", "promoted nothing"
        what = "; ".join(summary.get("reasons") or ["no trial passed the gate"])
    return {
        "event": event,
        "text": f"copg {name}: run {run} {state}: {what}",
        "name": name,
        "run": run,
        "started": summary.get("started"),
        "before": summary.get("before"),
        "failure": failure,
        "reasons": summary.get("reasons", []),
        "trials": summary.get("trials", []),
        "report": summary.get("report"),
    }


def post(url: str, message: Mapping[str, Any], *, pause_s: float = PAUSE_S) -> str:
    """Post a message as JSON, three times at most; why that failed, or nothing when it did not.

    Never raises: a webhook that is down says nothing about the run.
    """
    try:
        request = urllib.request.Request(
            url,
            data=json.dumps(message, default=str).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "copg"},
            method="POST",
        )
    except ValueError:
        return "its address is no URL"
    if request.type not in ("http", "https"):
        return f"its address must start with http:// or https://, not {request.type}:"
    from copg.stores.retrying import Busy, Retries

    def send() -> str:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return ""
        except urllib.error.HTTPError as error:
            problem = f"it answered {error.code}"
            if error.code < 500 and error.code != 429:
                return problem
            raise Busy(problem) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Busy(f"it cannot be reached: {type(reason).__name__}") from None

    try:
        return Retries(attempts=3, first_s=pause_s)(send)
    except Busy as busy:
        return str(busy)


def notify(url: str, summary: Mapping[str, Any], *, pause_s: float = PAUSE_S) -> str:
    """Tell a webhook of a run that failed or was not promoted; one line of what was done, empty for nothing.

    Args:
        url: of the webhook; empty: there is none.
        summary: contents of ``summary.json``.
        pause_s: before the second attempt.
    """
    message = message_of(summary)
    if not url or message is None:
        return ""
    problem = post(url, message, pause_s=pause_s)
    if problem:
        return f"warning: the webhook was not told of the {message['event']} run: {problem}"
    return f"told the webhook of the {message['event']} run"
