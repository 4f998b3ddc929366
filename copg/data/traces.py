"""Traces of applications that call a model: what was asked, what was answered, what people said of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from copg.data.exchanges import Mark, as_list, plain, read_exchange, with_feedback
from copg.data.found import Found, Wish
from copg.data.json_lines import Defect
from copg.data.langchain import was_cut
from copg.data.messages import read_messages
from copg.data.misfits import mapped
from copg.data.turns import as_completion, tools_of
from copg.records import TOOLS

_MODEL_CALL = ("gen_ai.input.messages", "gen_ai.output.messages")
_EVALUATION, _TOOLS = "gen_ai.evaluation.result", "gen_ai.tool.definitions"


def read_mlflow(row: Mapping[str, Any], wish: Wish) -> Found:
    """A trace of MLflow, as ``Trace.to_dict`` or ``mlflow.search_traces`` give it.

    Raises:
        Defect: it holds no text that was asked or answered, or several kinds of feedback.
    """
    trace = plain(row["trace"]) if "trace" in row else row
    if "data" in trace:
        root = _root_span(trace["data"])
        asked, answered = (plain(root.get(f"mlflow.span{side}")) for side in ("Inputs", "Outputs"))
        given = trace["info"].get("assessments")
    else:
        asked, answered = plain(trace.get("request")), plain(trace.get("response"))
        given = trace.get("assessments")
    if not {"request", "response"} <= row.keys():
        return read_exchange(asked, answered, _assessments(given), wish)
    with mapped(request=asked, response=answered):
        return read_exchange(asked, answered, _assessments(given), wish)


def _root_span(data: Any) -> dict[str, Any]:
    spans = data.get("spans") if type(data) is dict else None
    for span in spans if type(spans) is list else ():
        if type(span) is dict and not (span.get("parent_span_id") or span.get("parent_id")):
            return dict(span.get("attributes") or {})
    raise Defect("missing_field", "the trace has no span without a parent")


def _assessments(given: Any) -> Iterator[Mark]:
    """Name, whether a person gave it, and value of each feedback that stands."""
    for each in plain(given) or ():
        feedback = each.get("feedback") if type(each) is dict else None
        if type(feedback) is dict and each.get("valid") is not False and feedback.get("value") is not None:
            source = each.get("source") or {}
            name = each.get("assessment_name", each.get("name"))
            yield str(name), source.get("source_type") == "HUMAN", feedback["value"]


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
        asked, answered = (plain(attributes[name]) for name in _MODEL_CALL)
        system = plain(attributes.get("gen_ai.system_instructions"))
        before = [{"role": "system", "content": system}] if system else []
        prompt = read_messages([*before, *as_list(asked)], "gen_ai.input.messages", wish.dropped)
        choices = as_list(answered)
        said = read_messages(choices, "gen_ai.output.messages", wish.dropped)
        texts = [as_completion([message]) for message in said]
        finished = [not was_cut(choice) for choice in choices]
        marks = [mark for event in events if (mark := _evaluation(event)) is not None]
        more = tools_of({TOOLS: plain(attributes.get(_TOOLS))})
        found.append(with_feedback(Found(prompt, texts, None, finished, more=more), iter(marks), wish))
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


def _evaluation(event: tuple[str, dict[str, Any]]) -> Mark | None:
    name, held = event
    value = held.get("gen_ai.evaluation.score.value", held.get("gen_ai.evaluation.score.label"))
    if name != _EVALUATION or value is None:
        return None
    return str(held.get("gen_ai.evaluation.name")), False, value
