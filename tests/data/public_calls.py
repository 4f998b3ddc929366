"""Twenty calls of a model as LangSmith, MLflow and gateways log them, and the groups that they mean."""

import json
from typing import Any

from tests.data.public import SYSTEM, Group, question, right, said, user, wrong

USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


def constructed(kind: str, **kwargs: Any) -> dict[str, Any]:
    """A message as LangChain dumps it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def reply(n: int) -> dict[str, Any]:
    """As LangChain has the reply of a chat model, whose dump has no nulls but those inside."""
    return constructed(
        "AIMessage",
        content=right(n),
        additional_kwargs={"refusal": None},
        response_metadata={"token_usage": USAGE, "model_name": "gpt-4.1", "finish_reason": "stop"},
        type="ai",
        id=f"run-{n}",
        tool_calls=[],
        invalid_tool_calls=[],
        usage_metadata={"input_tokens": 9, "output_tokens": 5, "total_tokens": 14},
    )


def run(n: int, kind: str, **held: Any) -> dict[str, Any]:
    """A run of LangSmith, as its client dumps one."""
    row = {
        "id": f"{n:032x}",
        "name": kind,
        "run_type": kind,
        "start_time": "2026-01-01T00:00:00",
        "end_time": "2026-01-01T00:00:01",
        "extra": {"metadata": {"thread_id": f"t{n}"}},
        "error": None,
        "serialized": None,
        "events": [{"name": "start", "time": "2026-01-01T00:00:00"}],
        "reference_example_id": None,
        "parent_run_id": None,
        "tags": [],
        "trace_id": f"{n:032x}",
        "session_id": "s",
        "child_runs": None,
        "status": "success",
        "prompt_tokens": 9,
    }
    return row | held


def feedback(**scores: Any) -> dict[str, Any]:
    return {
        name: {"n": 1, "avg": score, "values": {}, "comments": [], "sources": ["api"], "errors": 0}
        for name, score in scores.items()
    }


def langsmith_chat(n: int) -> tuple[Any, list[Group]]:
    """LangChain's tracer: messages of one batch, and one list of generations."""
    asked = [
        constructed("SystemMessage", content="Be brief.", type="system"),
        constructed("HumanMessage", content=question(n), type="human", id=f"h{n}"),
    ]
    generation = {
        "text": right(n),
        "generation_info": {"finish_reason": "stop", "logprobs": None},
        "type": "ChatGeneration",
        "message": reply(n),
    }
    row = run(
        n,
        "llm",
        inputs={"messages": [asked]},
        outputs={"generations": [[generation]], "llm_output": {"token_usage": USAGE}, "run": None},
        feedback_stats=feedback(user_score=float(n % 2)),
    )
    return row, [([SYSTEM, user(question(n))], [right(n)], [float(n % 2)])]


def langsmith_wrapped(n: int) -> tuple[Any, list[Group]]:
    """What LangSmith's wrapper of OpenAI's client logs."""
    choice = {
        "finish_reason": "stop",
        "index": 0,
        "logprobs": None,
        "message": {**said(right(n)), "refusal": None, "annotations": [], "audio": None, "tool_calls": None},
    }
    row = run(
        n,
        "llm",
        inputs={"messages": [user(question(n))], "model": "gpt-4.1", "temperature": 0.2},
        outputs={"id": "c", "choices": [choice], "model": "gpt-4.1", "usage_metadata": USAGE},
        feedback_stats=None,
    )
    return row, [([user(question(n))], [right(n)], None)]


def langsmith_chain(n: int) -> tuple[Any, list[Group]]:
    """The root of a chain, as a table holds it, with feedback in words."""
    stats = {"thumb": {"n": 1, "avg": None, "values": {"up" if n % 2 else "down": 1}, "sources": ["app"]}}
    row = run(
        n,
        "chain",
        inputs=json.dumps({"question": question(n)}),
        outputs=json.dumps({"output": right(n)}),
        feedback_stats=json.dumps(stats | feedback(relevance=0.5)),
    )
    return row, [(question(n), [right(n)], [float(n % 2)])]


def mlflow_2_row(n: int) -> tuple[Any, list[Group]]:
    """A row of ``mlflow.search_traces`` of MLflow 2, of a chat model of LangChain's: JSON in texts.

    Earlier versions had no column ``trace``.
    """
    asked = [
        [
            {"content": "Be brief.", "additional_kwargs": {}, "response_metadata": {}, "type": "system"},
            {
                "content": question(n),
                "additional_kwargs": {},
                "type": "human",
                "name": None,
                "example": False,
            },
        ]
    ]
    message = reply(n)["kwargs"]
    answered = {"generations": [[{"text": right(n), "type": "ChatGeneration", "message": message}]]}
    request, response = json.dumps(asked), json.dumps(answered)
    span = {
        "name": "ChatOpenAI",
        "context": {"span_id": "0x1", "trace_id": "0x2"},
        "parent_id": None,
        "attributes": {"mlflow.spanInputs": request, "mlflow.spanOutputs": response},
    }
    human = {
        "assessment_name": "thumb",
        "source": {"source_type": "HUMAN", "source_id": "u"},
        "feedback": {"value": n % 2 == 0},
    }
    info = {"request_id": f"tr-{n}", "experiment_id": "0", "status": "OK", "assessments": [human]}
    data = {"spans": [span], "request": request, "response": response}
    row = {
        "request_id": f"tr-{n}",
        "trace": None if n % 2 else json.dumps({"info": info, "data": data}),
        "timestamp_ms": 1,
        "status": "OK",
        "request": request,
        "response": response,
        "request_metadata": {"mlflow.source.name": "app"},
        "spans": [span],
        "tags": {},
        "assessments": [human],
    }
    return row, [([SYSTEM, user(question(n))], [right(n)], [float(n % 2 == 0)])]


def gateway(n: int) -> tuple[Any, list[Group]]:
    """What gateways log of calls of OpenAI's interface: the request and the response, as JSON."""
    choice = {"index": 0, "finish_reason": "stop", "message": {**said(right(n)), "refusal": None}}
    row = {
        "request_id": f"r{n}",
        "status_code": 200,
        "request": json.dumps({"model": "m", "messages": [SYSTEM, user(question(n))], "max_tokens": 9}),
        "response": json.dumps({"id": "c", "choices": [choice], "usage": USAGE}),
        "thumb": "up",
    }
    return row, [([SYSTEM, user(question(n))], [right(n)], [1.0])]


def parts(role: str, text: str) -> dict[str, Any]:
    """A message as Gemini takes it."""
    return {"role": role, "parts": [{"text": text}]}


def gemini(n: int) -> tuple[Any, list[Group]]:
    """What Gemini is tuned on: contents, with the system's words beside them."""
    contents = [parts("user", question(n)), parts("model", right(n))]
    row = {"systemInstruction": parts("system", SYSTEM["content"]), "contents": contents}
    return row, [([SYSTEM, user(question(n))], [right(n)], None)]


def gemini_call(n: int) -> tuple[Any, list[Group]]:
    """A request to Gemini and its reply, two candidates at a time."""
    candidates = [
        {"content": parts("model", text), "finishReason": "STOP", "index": k}
        for k, text in enumerate((right(n), wrong(n)))
    ]
    row = {
        "request": {
            "contents": [parts("user", question(n))],
            "systemInstruction": parts("system", SYSTEM["content"]),
            "generationConfig": {"temperature": 1},
        },
        "response": {"candidates": candidates, "usageMetadata": {"totalTokenCount": 9}, "modelVersion": "m"},
    }
    return row, [([SYSTEM, user(question(n))], [right(n), wrong(n)], None)]


CALLS_SAID = {
    langsmith_chat: "runs of LangSmith, feedback 'user_score' as the reward",
    langsmith_wrapped: "runs of LangSmith",
    langsmith_chain: "runs of LangSmith, feedback 'thumb' as the reward",
    mlflow_2_row: "traces of MLflow, feedback 'thumb' as the reward",
    gemini: "chats as Gemini takes them, each with its last turn as the completion",
    gemini_call: "calls of a model, with their inputs and outputs",
    gateway: "calls of a model, with their inputs and outputs, 'thumb' as a reward of 1 or 0",
}
"""What is said of each."""
