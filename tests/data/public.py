"""Twenty records of each public shape, made as their publishers shape them, and the groups they mean."""

import json
from typing import Any

from copg.records import Prompt

COUNT = 20
Group = tuple[Prompt, list[str], list[float] | None]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}


def question(n: int) -> str:
    return f"What is {n} plus {n + 1}?"


def right(n: int) -> str:
    return f"It is {2 * n + 1}."


def wrong(n: int) -> str:
    return f"That would be {2 * n}."


def trl_prompt_completion(n: int) -> tuple[Any, list[Group]]:
    return {"prompt": question(n), "completion": right(n)}, [(question(n), [right(n)], None)]


def trl_conversational_prompt_completion(n: int) -> tuple[Any, list[Group]]:
    prompt = [SYSTEM, user(question(n))]
    return {"prompt": prompt, "completion": [said(right(n))]}, [(prompt, [right(n)], None)]


def trl_preference(n: int) -> tuple[Any, list[Group]]:
    row = {"prompt": question(n), "chosen": f" {right(n)}", "rejected": f" {wrong(n)}"}
    return row, [(question(n), [f" {right(n)}", f" {wrong(n)}"], [1.0, 0.0])]


def trl_conversational_preference(n: int) -> tuple[Any, list[Group]]:
    prompt = [user(question(n))]
    row = {"prompt": prompt, "chosen": [said(right(n))], "rejected": [said(wrong(n))]}
    return row, [(prompt, [right(n), wrong(n)], [1.0, 0.0])]


def ultrafeedback_binarised(n: int) -> tuple[Any, list[Group]]:
    chosen, rejected = ([user(question(n)), said(text)] for text in (right(n), wrong(n)))
    row = {
        "prompt": question(n),
        "prompt_id": f"{n:064x}",
        "chosen": chosen,
        "rejected": rejected,
        "messages": chosen,
        "score_chosen": 8.5,
        "score_rejected": 6.0,
    }
    return row, [([user(question(n))], [right(n), wrong(n)], [1.0, 0.0])]


def chats_without_a_prompt(n: int) -> tuple[Any, list[Group]]:
    before = [user("Hello"), said("Hello, what can I do?"), user(question(n))]
    row = {"chosen": [*before, said(right(n))], "rejected": [*before, said(wrong(n))]}
    return row, [(before, [right(n), wrong(n)], [1.0, 0.0])]


def texts_without_a_prompt(n: int) -> tuple[Any, list[Group]]:
    # TRL's own example: the prompt ends before the last space that both have
    row = {"chosen": f"Day {n}: the sky is blue.", "rejected": f"Day {n}: the sky is black."}
    return row, [(f"Day {n}: the sky is", [" blue.", " black."], [1.0, 0.0])]


def hh(n: int) -> tuple[Any, list[Group]]:
    before = f"\n\nHuman: Hi\n\nAssistant: Hello.\n\nand again\n\nHuman: {question(n)}\n\nAssistant:"
    row = {"chosen": f"{before} {right(n)}", "rejected": f"{before} {wrong(n)}"}
    prompt = [user("Hi"), said("Hello.\n\nand again"), user(question(n))]
    return row, [(prompt, [right(n), wrong(n)], [1.0, 0.0])]


def trl_unpaired(n: int) -> tuple[Any, list[Group]]:
    up = n % 2 == 0
    text = right(n) if up else wrong(n)
    row = {"prompt": question(n), "completion": text, "label": up}
    return row, [(question(n), [text], [1.0 if up else 0.0])]


def trl_conversational_unpaired(n: int) -> tuple[Any, list[Group]]:
    up = n % 3 == 0
    text = right(n) if up else wrong(n)
    row = {"prompt": [user(question(n))], "completion": [said(text)], "label": up}
    return row, [([user(question(n))], [text], [1.0 if up else 0.0])]


def trl_prompts(n: int) -> tuple[Any, list[Group]]:
    prompt = [user(question(n))] if n % 2 else question(n)
    return {"prompt": prompt, "id": n}, [(prompt, [], None)]


def messages(n: int) -> tuple[Any, list[Group]]:
    chat = [
        SYSTEM,
        user("Hi"),
        said("Hello."),
        {"role": "user", "content": [{"type": "text", "text": question(n)}]},
    ]
    row = {"messages": [*chat, said(right(n)) | {"weight": 1}]}
    return row, [([SYSTEM, user("Hi"), said("Hello."), user(question(n))], [right(n)], None)]


def ultrachat(n: int) -> tuple[Any, list[Group]]:
    chat = [user(question(n)), said(wrong(n)), user("Sure?"), said(right(n))]
    return {"prompt": question(n), "prompt_id": f"{n:x}", "messages": chat}, [(chat[:3], [right(n)], None)]


def sharegpt(n: int) -> tuple[Any, list[Group]]:
    turns = [("human", question(n)), ("gpt", wrong(n)), ("human", "Sure?"), ("gpt", right(n))]
    row = {"id": f"QWJhYvA_{n}", "conversations": [{"from": side, "value": text} for side, text in turns]}
    return row, [([user(question(n)), said(wrong(n)), user("Sure?")], [right(n)], None)]


def glaive(n: int) -> tuple[Any, list[Group]]:
    """As LLaMA-Factory publishes Glaive's calls of functions: their results are observations."""
    call = {"name": "add", "arguments": {"numbers": [n, n + 1]}}
    turns = [
        ("human", question(n)),
        ("function_call", json.dumps(call)),
        ("observation", json.dumps({"sum": 2 * n + 1})),
        ("gpt", right(n)),
    ]
    tool = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {}}}
    row = {
        "conversations": [{"from": side, "value": text} for side, text in turns],
        "tools": json.dumps([tool]),
    }
    return row, [([user(question(n))], [f"{json.dumps(call)}\n\n{right(n)}"], None)]


def sharegpt_pairs(n: int) -> tuple[Any, list[Group]]:
    row = {
        "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": question(n)}],
        "chosen": {"from": "gpt", "value": right(n)},
        "rejected": {"from": "gpt", "value": wrong(n)},
    }
    return row, [([SYSTEM, user(question(n))], [right(n), wrong(n)], [1.0, 0.0])]


def alpaca(n: int) -> tuple[Any, list[Group]]:
    row = {"instruction": "Add the numbers.", "input": f"{n}, {n + 1}" if n % 2 else "", "output": right(n)}
    prompt = f"Add the numbers.\n\n{n}, {n + 1}" if n % 2 else "Add the numbers."
    return row, [(prompt, [right(n)], None)]


def dolly(n: int) -> tuple[Any, list[Group]]:
    row = {"instruction": question(n), "context": "", "response": right(n), "category": "closed_qa"}
    return row, [(question(n), [right(n)], None)]


def openai_pairs(n: int) -> tuple[Any, list[Group]]:
    row = {
        "input": {"messages": [SYSTEM, user(question(n))], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [said(right(n))],
        "non_preferred_output": [said(wrong(n))],
    }
    return row, [([SYSTEM, user(question(n))], [right(n), wrong(n)], [1.0, 0.0])]


def ultrafeedback(n: int) -> tuple[Any, list[Group]]:
    scores = [8.5, 2.0, None if n == 7 else 5.0]
    texts = [right(n), wrong(n), "I cannot add."]
    completions = [
        {
            "model": model,
            "response": text,
            "overall_score": score,
            "fine-grained_score": 4.0,
            "critique": "Good.",
            "annotations": {"helpfulness": {"Rating": "4"}},
        }
        for model, text, score in zip(("gpt-4", "falcon", "alpaca"), texts, scores, strict=True)
    ]
    row = {"source": "flan", "instruction": question(n), "models": ["gpt-4"], "completions": completions}
    return row, [(question(n), texts, scores)]


def nectar(n: int) -> tuple[Any, list[Group]]:
    texts = [right(n), "No idea.", wrong(n)]
    answers = [
        {"answer": text, "model": "m", "rank": float(rank)}
        for text, rank in zip(texts, (1, 7, 3), strict=True)
    ]
    row = {
        "prompt": f"\n\nHuman: {question(n)}\n\nAssistant: ",
        "answers": answers,
        "turns": 1,
        "num_responses": 3,
        "good_natured": True,
    }
    # ranks 1, 3, 7 are three even steps: 1, .5, 0
    return row, [([user(question(n))], texts, [1.0, 0.0, 0.5])]


def ranked_completions(n: int) -> tuple[Any, list[Group]]:
    row = {"prompt": question(n), "completions": [wrong(n), right(n), "No."], "ranks": [1, 0, None]}
    # what has no rank is left out
    return row, [(question(n), [wrong(n), right(n)], [0.0, 1.0])]


def oasst(n: int) -> tuple[Any, list[Group]]:
    def message(role: str, text: str, rank: int | None, *replies: Any) -> dict[str, Any]:
        held = {"message_id": f"{n}-{text}", "text": text, "role": role, "lang": "en", "rank": rank}
        return held | {"review_count": 3, "synthetic": False, "replies": list(replies)}

    deeper = message("prompter", "Sure?", None, message("assistant", "Yes.", None))
    replies = [
        message("assistant", wrong(n), 1),
        message("assistant", right(n), 0, deeper),
        message("assistant", "No.", None),
    ]
    prompt = message("prompter", question(n), None, *replies)
    row = {"message_tree_id": f"{n}", "tree_state": "ready_for_export", "prompt": prompt}
    below = [user(question(n)), said(right(n)), user("Sure?")]
    first = ([user(question(n))], [wrong(n), right(n)], [0.0, 1.0])
    return row, [first, (below, ["Yes."], None)]


def otel_span(n: int) -> tuple[Any, list[Group]]:
    """As ``opentelemetry.sdk.trace.ReadableSpan.to_json`` writes it."""
    asked = [{"role": "user", "parts": [{"type": "text", "content": question(n)}]}]
    answered = {
        "role": "assistant",
        "parts": [{"type": "text", "content": right(n)}],
        "finish_reason": "stop",
    }
    evaluation = {"gen_ai.evaluation.name": "thumb", "gen_ai.evaluation.score.value": n % 2}
    row = {
        "name": "chat gpt-4.1",
        "context": {"trace_id": f"0x{n:032x}", "span_id": f"0x{n:016x}", "trace_state": "[]"},
        "kind": "SpanKind.CLIENT",
        "parent_id": None,
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
            "gen_ai.input.messages": json.dumps(asked),
            "gen_ai.output.messages": json.dumps([answered]),
        },
        "events": [{"name": "gen_ai.evaluation.result", "timestamp": "2026-01-01", "attributes": evaluation}],
        "links": [],
        "resource": {"attributes": {"service.name": "shop"}, "schema_url": ""},
    }
    return row, [([SYSTEM, user(question(n))], [right(n)], [float(n % 2)])]


def otlp_batch(n: int) -> tuple[Any, list[Group]]:
    """As a collector's file exporter writes it: two calls of a model and a span of another kind."""

    def attribute(name: str, value: Any) -> dict[str, Any]:
        return {"key": name, "value": {"stringValue": json.dumps(value)}}

    def span(text: str, reason: str) -> dict[str, Any]:
        asked = [{"role": "user", "parts": [{"type": "text", "content": question(n)}]}]
        parts = [{"type": "text", "content": text}]
        answered = [{"role": "assistant", "parts": parts, "finish_reason": reason}]
        both = [attribute("gen_ai.input.messages", asked), attribute("gen_ai.output.messages", answered)]
        return {"traceId": f"{n:032x}", "name": "chat", "attributes": both}

    spans = [span(right(n), "stop"), {"name": "GET /", "attributes": []}, span(wrong(n), "length")]
    row = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}
    return row, [([user(question(n))], [text], None) for text in (right(n), wrong(n))]


def mlflow_trace(n: int) -> tuple[Any, list[Group]]:
    """As ``mlflow.entities.Trace.to_dict`` writes it."""
    asked = {"model": "gpt-4.1", "messages": [SYSTEM, user(question(n))]}
    answered = {"choices": [{"finish_reason": "stop", "message": said(right(n)) | {"annotations": []}}]}
    span = {
        "trace_id": "dHJhY2U=",
        "span_id": "c3Bhbg==",
        "parent_span_id": None,
        "name": "chat",
        "attributes": {
            "mlflow.spanInputs": json.dumps(asked),
            "mlflow.spanOutputs": json.dumps(answered),
            "mlflow.spanType": '"CHAT_MODEL"',
        },
    }
    human = {
        "assessment_name": "user_feedback",
        "source": {"source_type": "HUMAN", "source_id": "u1"},
        "feedback": {"value": n % 2 == 0},
    }
    judged = {
        "assessment_name": "relevance",
        "source": {"source_type": "LLM_JUDGE", "source_id": "m"},
        "feedback": {"value": "yes"},
    }
    info = {"trace_id": f"tr-{n:x}", "state": "OK", "assessments": [judged, human]}
    row = {"info": info, "data": {"spans": [span]}}
    return row, [([SYSTEM, user(question(n))], [right(n)], [1.0 if n % 2 == 0 else 0.0])]


SAID = {
    trl_prompt_completion: "one completion a record",
    trl_conversational_prompt_completion: "one completion a record",
    trl_preference: "pairs with their prompt",
    trl_conversational_preference: "pairs with their prompt",
    ultrafeedback_binarised: "pairs with their prompt",
    chats_without_a_prompt: "pairs of whole chats",
    texts_without_a_prompt: "pairs of whole texts, whose common beginning is the prompt",
    hh: "pairs of whole transcripts of Human and Assistant",
    trl_unpaired: "one completion a record, 'label' as a reward of 1 or 0",
    trl_conversational_unpaired: "one completion a record, 'label' as a reward of 1 or 0",
    trl_prompts: "prompts alone",
    messages: "chats, each with its last turn as the completion",
    ultrachat: "chats, each with its last turn as the completion",
    sharegpt: "ShareGPT chats, each with its last turn as the completion",
    glaive: "ShareGPT chats, each with its last turn as the completion",
    sharegpt_pairs: "pairs of turns after ShareGPT chats",
    alpaca: "Alpaca's instructions, with their inputs below them",
    dolly: "Dolly's instructions, with their contexts below them",
    openai_pairs: "OpenAI's pairs of a preferred output and another",
    ultrafeedback: "groups of answers that are objects, 'overall_score' as the reward",
    nectar: "groups of answers that are objects, ranks as rewards from 1 to 0, evenly spaced",
    ranked_completions: "groups of completions, ranks as rewards from 1 to 0, evenly spaced",
    oasst: "OpenAssistant's trees of messages, ranks as rewards from 1 to 0, evenly spaced",
    otel_span: "OpenTelemetry's spans of calls of a model, feedback 'thumb' as the reward",
    otlp_batch: "OpenTelemetry's spans of calls of a model",
    mlflow_trace: "traces of MLflow, feedback 'user_feedback' as the reward",
}
"""What is said of each."""
