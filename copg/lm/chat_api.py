"""What an OpenAI-compatible chat API is sent, and how what it answers is read."""

import json
import time
import urllib.error
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from copg.errors import CopgError

READ_BYTES = 2**16
CONTINUE = "continue_final_message"
CONTINUES = {CONTINUE: True, "add_generation_prompt": False}
"""What is sent where a prompt ends with the start of an answer: vLLM would close it, and answer anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, or why there is nothing to read."""

    text: str | None
    problem: str = ""
    finished: bool = True
    """False when it was cut off at the most tokens asked for."""
    prompt_tokens: int | None = None
    """Of the prompt as the endpoint read it; None where it does not say."""


def is_begun(prompt: str | Sequence[Mapping[str, Any]]) -> bool:
    """Whether a prompt ends with the start of an answer, with which completions go on."""
    return not isinstance(prompt, str) and bool(prompt) and prompt[-1]["role"] == "assistant"


def sent_messages(prompt: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A prompt as the API takes it: what calls are given as text, and each result with the id of its call.

    Args:
        prompt: text, which is what a user says, or messages as chat templates take them.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    sent: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for place, message in enumerate(prompt):
        held = dict(message)
        if calls := held.get("tool_calls"):
            held["tool_calls"] = [
                {"id": f"call_{place}_{n}", **call, "function": _as_text(call["function"])}
                for n, call in enumerate(calls)
            ]
            unanswered = [call["id"] for call in held["tool_calls"]]
        elif held["role"] == "tool" and unanswered:
            held.setdefault("tool_call_id", unanswered[0])
            unanswered = [each for each in unanswered if each != held["tool_call_id"]]
        sent.append(held)
    return sent


def _as_text(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments", {})
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return {**function, "arguments": text}


def parsed(value: Any) -> Any:
    """What JSON in a text means; any other value as it is."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def read_until(reply: HTTPResponse, until: float) -> bytes:
    """The body of a reply, at most until a moment of the monotonic clock.

    The time-out of a socket begins anew with every byte: a reply that comes in drops never meets it.

    Raises:
        TimeoutError: it has not ended by then.
    """
    parts = []
    while part := reply.read1(READ_BYTES):
        parts.append(part)
        if time.monotonic() > until:
            raise TimeoutError("the reply did not end in time")
    return b"".join(parts)


def prompt_tokens(reply: Any) -> int | None:
    """Tokens of a prompt as the endpoint read it; None where it does not say."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int else None


def read_key(key_file: str | None, error: type[CopgError]) -> str | None:
    """The key of an endpoint; None where there is none.

    Raises:
        CopgError: of the class ``error``: its file cannot be read, or is empty.
    """
    if key_file is None:
        return None
    try:
        key = Path(key_file).read_text().strip()
    except OSError as problem:
        raise error(f"key_file={key_file}: cannot be read: {problem.strerror}") from None
    if not key:
        raise error(f"key_file={key_file}: is empty")
    return key


def excerpt(error: urllib.error.HTTPError) -> str:
    """The start of what a refusal says, in one line."""
    with error:
        return " ".join(error.read(2000).decode(errors="replace").split())[:120]
