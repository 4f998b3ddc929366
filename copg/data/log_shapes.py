"""The shapes in which calls of a model are logged and traced."""

from collections.abc import Mapping
from typing import Any

from copg.data.calls import call_columns, is_run, read_call, read_run
from copg.data.found import Shape
from copg.data.traces import read_mlflow, read_spans

Row = Mapping[str, Any]


def _is_span(row: Row) -> bool:
    attributes = row.get("attributes")
    spans = type(row.get("resourceSpans")) is list
    return spans or (type(attributes) is dict and "context" in row and "name" in row)


def _is_trace(row: Row) -> bool:
    whole = type(row.get("info")) is dict and type(row.get("data")) is dict
    both = {"request", "response"} <= row.keys()
    older = "request_id" in row and (
        "trace" in row or (both and bool({"spans", "request_metadata"} & row.keys()))
    )
    return whole or older or ("trace_id" in row and ("trace" in row or both))


SHAPES = (
    Shape(
        "mlflow",
        "traces of MLflow",
        ("data", "trace", "request", "response", "spans"),
        _is_trace,
        lambda row, wish: [read_mlflow(row, wish)],
    ),
    Shape(
        "langsmith",
        "runs of LangSmith",
        ("inputs", "outputs", "serialized", "events", "child_runs"),
        is_run,
        lambda row, wish: [read_run(row, wish)],
    ),
    Shape(
        "calls",
        "calls of a model, with their inputs and outputs",
        (),
        lambda row: call_columns(row) is not None and not _is_trace(row),
        lambda row, wish: [read_call(row, wish)],
    ),
    Shape(
        "spans",
        "OpenTelemetry's spans of calls of a model",
        ("resourceSpans", "attributes", "events"),
        _is_span,
        read_spans,
    ),
)
"""As those of data sets: a row that fits two is refused."""
