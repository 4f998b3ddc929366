"""What a chat API is sent, and that its reply is read in time."""

import json
import time
from typing import Any, ClassVar

import pytest

from copg.errors import ModelError
from copg.lm.chat_api import sent_messages
from copg.lm.endpoint import Endpoint
from copg.stores.retrying import Retries
from tests.serving import JsonHandler, serving

USER = {"role": "user", "content": "weather?"}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": {"at": "R\u00f6m"}}, **more}


def test_text_is_what_a_user_says_and_words_alone_go_as_they_are() -> None:
    assert sent_messages("weather?") == [USER]
    assert sent_messages([USER]) == [USER]


def test_calls_are_sent_with_their_arguments_as_text_and_results_with_the_id_of_their_call() -> None:
    calls = [call("look"), call("find", id="c7")]
    results = [{"role": "tool", "content": text} for text in ("20", "30")]
    sent = sent_messages([USER, {"role": "assistant", "content": "", "tool_calls": calls}, *results])
    assert [each["id"] for each in sent[1]["tool_calls"]] == ["call_1_0", "c7"]
    assert [each["function"]["arguments"] for each in sent[1]["tool_calls"]] == ['{"at": "R\u00f6m"}'] * 2
    assert [each["tool_call_id"] for each in sent[2:]] == ["call_1_0", "c7"]
    assert calls == [call("look"), call("find", id="c7")]  # what was logged is as it was
    # a result that says which call it answers is believed, whatever the order
    backwards = [{**results[0], "tool_call_id": "c7"}, results[1]]
    sent = sent_messages([USER, {"role": "assistant", "content": "", "tool_calls": calls}, *backwards])
    assert [each["tool_call_id"] for each in sent[2:]] == ["c7", "call_1_0"]


class Odd(JsonHandler):
    """Answers with whatever choice it was given; ``drops``: a byte at a time."""

    choice: Any = None
    drops = False
    sent: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps({"choices": [self.choice]}).encode()
        if not self.drops:
            return self.write(200, data, "application/json")
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for byte in data:
            time.sleep(0.05)
            self.wfile.write(bytes([byte]))


def answer(choice: Any, *, attempts: int = 2, **how: Any) -> tuple[Any, int]:
    """What is said of it, and how often it was asked for."""
    kind = type("Kind", (Odd,), {"choice": choice, "drops": how.pop("drops", False), "sent": []})
    with serving(kind) as url:
        endpoint = Endpoint(
            url,
            None,
            None,
            **{"max_requests": None, "requests_per_minute": 0.0, "num_parallel": 1, "timeout_s": 5.0, **how},
            retries=Retries(attempts=attempts, first_s=0.001),
            bears=True,
            error=ModelError,
        )
        ((_, found),) = endpoint.answers({"k": {}}, accept=bool)
    return found, len(kind.sent)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"message": None}, "TypeError"),
        ({"message": "hello"}, "ValueError"),
        ({"error": "no"}, "KeyError: 'message'"),
        (None, "TypeError"),
        ({"message": {"content": None, "refusal": "I will not"}}, "the reply holds no text: I will not"),
        (
            {"message": {"content": "I look", "tool_calls": [{}]}},
            "the reply calls tools, which its text does not tell",
        ),
    ],
)
def test_a_reply_without_a_text_that_is_all_of_it_is_asked_for_again_and_told(
    choice: Any, problem: str
) -> None:
    found, asked = answer(choice)
    assert found.text is None
    assert problem in found.problem
    assert asked == 2


def test_a_reply_that_comes_in_drops_is_a_time_out() -> None:
    before = time.monotonic()
    found, _ = answer({"message": {"content": "a" * 200}}, attempts=1, timeout_s=0.2, drops=True)
    assert found.text is None
    assert "TimeoutError" in found.problem
    assert time.monotonic() - before < 5  # 240 drops would take 12 s


def test_a_budget_that_no_retry_has_spent_names_none() -> None:
    with pytest.raises(ModelError, match=r"max_requests=0 is spent$"):
        answer({"message": {"content": "a"}}, max_requests=0)
