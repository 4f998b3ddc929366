"""Traces of applications that call a model: what was asked, what was answered, what people said of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from copg.data.found import Found, Wish
from copg.data.json_lines import Defect, kind_of, parse_json
from copg.data.marks import as_number, may_mark, read_thumb
from copg.data.messages import is_chat, read_messages
from copg.data.turns import Messages, as_completion, begin_of_turn, tools_of
from copg.records import TOOLS, Prompt

_ASKED = ("messages", "prompt", "question", "query", "input", "inputs", "text", "message", "request")
_ANSWERED = ("choices", "messages", "output", "answer", "response", "completion", "text", "content", "result")
_OF_MESSAGES = ("role", "content", "tool_calls", "function_call", "reasoning_content", "reasoning")
_OF_TOOLS = ("role", "content", "tool_call_id", "name")
_MODEL_CALL = ("gen_ai.input.messages", "gen_ai.output.messages")
_EVALUATION, _TOOLS = "gen_ai.evaluation.result", "gen_ai.tool.definitions"


def read_mlflow(row: Mapping[str, Any], wish: Wish) -> Found:
    """A trace of MLflow, as ``Trace.to_dict`` or ``mlflow.search_traces`` give it.

    Raises:
        Defect: it holds no text that was asked or answered, or several kinds of feedback.
    """
    trace = _plain(row["trace"]) if "trace" in row else row
    if "data" in trace:
        root = _root_span(trace["data"])
        asked, answered = (_plain(root.get(f"mlflow.span{side}")) for side in ("Inputs", "Outputs"))
        given = trace["info"].get("assessments")
    else:
        asked, answered = _plain(trace.get("request")), _plain(trace.get("response"))
        given = trace.get("assessments")
    before, text, finished = _answered(answered)
    prompt = _gone_on(_asked(asked), before) if before else _asked(asked)
    found = Found(prompt, [text], finished=[finished], more=tools_of(asked))
    return _with_feedback(found, _assessments(given), wish)


def _gone_on(asked: Prompt, before: Messages) -> Messages:
    """What outputs that hold a conversation have before its last turn, which ends with what was asked.

    Raises:
        Defect: ``ambiguous_shape``, where it does not.
    """
    chat = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    if before[-len(chat) :] != chat:
        readings = "the inputs as the prompt, or what stands in the outputs before their last turn"
        raise Defect("ambiguous_shape", f"the trace can be read with {readings}, which is another")
    return before


def _root_span(data: Any) -> dict[str, Any]:
    spans = data.get("spans") if type(data) is dict else None
    for span in spans if type(spans) is list else ():
        if type(span) is dict and not (span.get("parent_span_id") or span.get("parent_id")):
            return dict(span.get("attributes") or {})
    raise Defect("missing_field", "the trace has no span without a parent")


def _assessments(given: Any) -> Iterator[tuple[str, bool, Any]]:
    """Name, whether a person gave it, and value of each feedback that stands."""
    for each in _plain(given) or ():
        feedback = each.get("feedback") if type(each) is dict else None
        if type(feedback) is dict and each.get("valid") is not False and feedback.get("value") is not None:
            source = each.get("source") or {}
            yield str(each.get("assessment_name")), source.get("source_type") == "HUMAN", feedback["value"]


def read_spans(row: Mapping[str, Any], wish: Wish) -> list[Found]:
    """Calls of a model among spans of OpenTelemetry, by its conventions for generative AI.

    Args:
        row: one span, as ``Span.to_json`` writes it, or a batch of OTLP in JSON.

    Raises:
        Defect: no span is a call of a model with its messages.
    """
    found = []
    for attributes, events in _spans(row):
        if not all(name in attributes for name in _MODEL_CALL):
            continue
        asked, answered = (_plain(attributes[name]) for name in _MODEL_CALL)
        system = _plain(attributes.get("gen_ai.system_instructions"))
        before = [{"role": "system", "content": system}] if system else []
        prompt = read_messages([*before, *_listed(asked)], "gen_ai.input.messages")
        choices = _listed(answered)
        texts = [as_completion([m]) for m in read_messages(choices, "gen_ai.output.messages")]
        finished = [choice.get("finish_reason") != "length" for choice in choices]
        marks = [mark for event in events if (mark := _evaluation(event)) is not None]
        more = tools_of({TOOLS: _plain(attributes.get(_TOOLS))})
        found.append(_with_feedback(Found(prompt, texts, None, finished, more=more), iter(marks), wish))
    if not found:
        raise Defect("missing_field", f"no span has {list(_MODEL_CALL)}: its messages were not recorded")
    return found


def _spans(row: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]]:
    """Attributes and events of each span; a span's details may stand in an event of it."""
    if "resourceSpans" in row:
        scopes = [scope for each in row["resourceSpans"] for scope in each.get("scopeSpans", ())]
        spans = [span for scope in scopes for span in scope.get("spans", ())]
    else:
        spans = [row]
    for span in spans:
        events = [(each.get("name"), _pairs(each.get("attributes"))) for each in span.get("events") or ()]
        details = [held for name, held in events if name == "gen_ai.client.inference.operation.details"]
        attributes = _pairs(span.get("attributes"))
        for held in details:
            attributes |= held
        yield attributes, events


def _pairs(attributes: Any) -> dict[str, Any]:
    """Attributes by name; OTLP lists them as a key and a typed value each."""
    if type(attributes) is not list:
        return dict(attributes or {})
    return {each["key"]: _typed(each.get("value")) for each in attributes}


def _typed(value: Any) -> Any:
    if type(value) is not dict or len(value) != 1:
        return value
    ((kind, held),) = value.items()
    match kind:
        case "arrayValue":
            return [_typed(item) for item in held.get("values", ())]
        case "kvlistValue":
            return _pairs(held.get("values", []))
        case "intValue":
            return int(held)
    return held


def _evaluation(event: tuple[str, dict[str, Any]]) -> tuple[str, bool, Any] | None:
    name, held = event
    value = held.get("gen_ai.evaluation.score.value", held.get("gen_ai.evaluation.score.label"))
    if name != _EVALUATION or value is None:
        return None
    return str(held.get("gen_ai.evaluation.name")), False, value


def _with_feedback(found: Found, marks: Iterator[tuple[str, bool, Any]], wish: Wish) -> Found:
    """With the feedback that is the reward, its mean where several gave it; people's goes before others'."""
    given = [mark for mark in marks if wish.feedback in (None, mark[0])]
    every = [mark for mark in given if _as_reward(mark[2]) is not None]
    if len(found.completions) != 1 and every:
        found.unused = "feedback of a call with several completions is not used: it names none of them"
        return found
    if not every and (names := sorted({name for name, _, value in given if may_mark(value)})):
        found.unused = f"feedback {', '.join(names)} is not used: neither yes, no nor a number"
    chosen = every
    if wish.feedback is None and any(by_person for _, by_person, _ in chosen):
        chosen = [mark for mark in chosen if mark[1]]
    names = sorted({name for name, _, _ in chosen})
    if len(names) > 1:
        readings = " or ".join(f"{name!r} as the reward" for name in names)
        hint = f"name one, as in columns: {{reward: {names[0]}}}"
        raise Defect("ambiguous_shape", f"the trace can be read with {readings}; {hint}")
    values = [_as_reward(value) or 0.0 for _, _, value in chosen]
    if values:
        found.rewards = [sum(values) / len(values)]
        found.note = f"feedback {names[0]!r} as the reward"
    return found


def _as_reward(value: Any) -> float | None:
    if type(value) in (int, float):
        return float(value)
    thumb = read_thumb(value)
    if thumb is None and type(value) is str:
        number = as_number(value)
        said = {"pass": 1.0, "fail": 0.0}.get(value.strip().lower())
        return number if said is None and not isinstance(number, str) else said
    return thumb


def _asked(value: Any) -> Prompt:
    """The prompt among the inputs of a call."""
    if type(value) is dict:
        for name in _ASKED:
            if type(value.get(name)) in (str, list, dict):
                return _asked(value[name])
        texts = [held for held in value.values() if type(held) is str]
        value = texts[0] if len(texts) == 1 else value
    if is_chat(value):
        return read_messages(value, "the inputs")
    if type(value) is not str:
        found = sorted(value) if type(value) is dict else kind_of(value)
        raise Defect("missing_field", f"the inputs hold neither one text nor 'messages', found {found}")
    return value


def _answered(value: Any) -> tuple[Messages, str | Messages, bool]:
    """What stands before the completion among the outputs of a call, the completion, and whether it came to
    its end.
    """
    if type(value) is dict:
        if type(value.get("message")) is dict:  # a choice
            before, text, _ = _answered([value["message"]])
            return before, text, value.get("finish_reason") != "length"
        for name in _ANSWERED:
            if type(value.get(name)) in (str, list, dict):
                return _answered(value[name])
    if type(value) is list and len(value) == 1 and type(value[0]) is dict and "message" in value[0]:
        return _answered(value[0])
    if is_chat(value):
        messages = read_messages(_said(value), "the outputs")
        begin = begin_of_turn(messages)
        if begin < len(messages):
            return messages[:begin], as_completion(messages[begin:]), True
    if type(value) is not str:
        found = sorted(value) if type(value) is dict else kind_of(value)
        raise Defect("missing_field", f"the outputs hold neither one text nor a message, found {found}")
    return [], value, True


def _said(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of a reply, or of a conversation, without what describes them; calls that stand as items of
    their own belong to the message before them.
    """
    said: list[dict[str, Any]] = []
    for item in items:
        if item.get("type") == "function_call":
            call = {"id": item.get("call_id"), "function": {n: item.get(n) for n in ("name", "arguments")}}
            if not said or said[-1].get("role") != "assistant":
                said.append({"role": "assistant"})
            said[-1] = {**said[-1], "tool_calls": [*said[-1].get("tool_calls", ()), call]}
        elif item.get("type") == "function_call_output":
            said.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        elif item.get("type") in (None, "message"):
            names = _OF_TOOLS if item.get("role") in ("tool", "function") else _OF_MESSAGES
            said.append({name: held for name, held in item.items() if name in names})
    return said


def _listed(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


def _plain(value: Any) -> Any:
    """What JSON in a text means; any other value as it is."""
    if type(value) is str and value[:1] in ("{", "[", '"'):
        try:
            return parse_json(value.encode())
        except Defect:
            return value
    return value
