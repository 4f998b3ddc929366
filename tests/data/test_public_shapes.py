"""Public shapes are read without mapping; what can be read in two ways is refused, and names both."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.rows import Row
from copg.data.shapes import READ_AS, Record, RecordReader
from tests.data.public import (
    COUNT,
    SAID,
    Group,
    alpaca,
    messages,
    mlflow_trace,
    oasst,
    otel_span,
    question,
    right,
    said,
    ultrafeedback_binarised,
    user,
)
from tests.data.public_calls import CALLS_SAID

Make = Callable[[int], tuple[Any, list[Group]]]


def read(row: Any, *, cells: bool = False, **reading: Any) -> list[Record]:
    return RecordReader(Reading(**reading)).read(row, cells=cells)


def refusal(row: Any, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


EVERY = SAID | CALLS_SAID


@pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
def test_records_of_a_public_shape_mean_the_groups_that_were_worked_out(make: Make) -> None:
    for n in range(COUNT):
        row, expected = make(n)
        found = read(json.loads(json.dumps(row)))
        assert [(record.prompt, record.texts, record.rewards) for record in found] == expected
        assert found[0].read_as == EVERY[make]
        assert ("look" in found[0].unused) == (make in (ultrafeedback_binarised,))


OF_ONE_TYPE = [make for make in EVERY if make not in (messages, mlflow_trace)]
"""What Arrow can hold: in the others, a column has values of two types."""


@pytest.mark.parametrize("make", OF_ONE_TYPE, ids=lambda make: make.__name__)
def test_the_same_records_mean_the_same_from_a_table(make: Make) -> None:
    """Arrow gives every object all keys that any has, as nulls."""
    rows, expected = zip(*map(make, range(1, COUNT, 2)), strict=True)  # odd: prompts are all chats
    table = pa.Table.from_pylist(list(rows)).to_pylist()
    found = [[(r.prompt, r.texts, r.rewards) for r in read(row)] for row in table]
    assert found == list(expected)


def test_there_are_more_than_twelve_shapes() -> None:
    assert len(READ_AS) == 22
    assert len({says.partition(",")[0] for says in SAID.values()}) >= 12


def test_a_row_of_several_groups_counts_as_so_many() -> None:
    rows = [oasst(0)[0], 3, oasst(1)[0], {"prompt": 3, "completion": "a"}]
    made = to_portion([Row("f", n, value=row) for n, row in enumerate(rows, 1)], RecordReader(Reading()))
    assert made.num_rows == 6
    assert made.records["source"].to_pylist() == ["f:1", "f:1", "f:3", "f:3"]
    assert [d["position"] for d in made.defects.to_pylist()] == [2, 5]
    # two replies of three have a rank
    assert made.records["unranked_completions"].to_pylist() == [1, 0, 1, 0]
    # what follows in a tree is on the side of what it began with
    assert made.records["side"].to_pylist() == [made.records["id"][n].as_py() for n in (0, 0, 2, 2)]


def test_every_turn_of_a_chat_is_a_completion_where_that_is_asked_for() -> None:
    row, _ = messages(3)
    first, second = read(row | {"reward": 0.5}, all_turns=True)
    system = row["messages"][0]
    assert (first.prompt, first.texts, first.rewards) == ([system, user("Hi")], ["Hello."], [0.5])
    assert second.prompt == [system, user("Hi"), said("Hello."), user(question(3))]
    assert (second.texts, second.rewards) == ([right(3)], [0.5])
    assert first.side == second.side is not None


def test_columns_of_one_answer_stay_with_it() -> None:
    row = {
        "prompt": "p",
        "source": "s",
        "answers": [{"answer": "a", "model": "m", "rank": 1}, {"answer": "b", "model": "n", "rank": 2}],
    }
    (record,) = read(row)
    assert json.loads(record.columns) == {"source": "s"}
    assert [json.loads(own or "") for own in record.overlays or []] == [
        {"model": "m", "rank": 1},
        {"model": "n", "rank": 2},
    ]


@pytest.mark.parametrize(
    ("value", "reward"),
    [
        (True, 1.0),
        (False, 0.0),
        (1, 1.0),
        (-1, 0.0),
        ("thumbs_up", 1.0),
        ("\N{THUMBS DOWN SIGN}", 0.0),
        ("so so", None),
    ],
)
def test_a_thumb_is_a_reward_of_one_or_zero(value: Any, reward: float | None) -> None:
    (record,) = read({"prompt": "p", "completion": "a", "thumb": value})
    assert record.rewards == (None if reward is None else [reward])
    assert json.loads(record.columns) == {"thumb": value}


def test_a_label_that_is_no_thumb_is_said_to_be_unused() -> None:
    (record,) = read({"prompt": "p", "completion": "a", "label": 3})
    assert record.rewards is None
    assert record.unused == "'label' looks like a reward and is not used; to use it: columns: {reward: label}"
    assert read({"prompt": "p", "completion": "a", "label": 3}, columns={"reward": "label"})[0].rewards == [
        3.0
    ]


@pytest.mark.parametrize("name", ["feedback", "user_rating", "vote"])
def test_a_thumb_under_another_name_is_said_to_be_unused_and_the_line_uses_it(name: str) -> None:
    row = {"messages": [user("p"), said("a")], name: "thumbs_up"}
    (record,) = read(row)
    assert record.rewards is None
    line = f"columns: {{reward: {name}}}"
    assert record.unused == f"{name!r} looks like a reward and is not used; to use it: {line}"
    (record,) = read(row, columns={"reward": name})
    assert (record.rewards, record.unused) == ([1.0], "")
    assert read({**row, name: "a sentence of praise"})[0].unused == ""


def test_scores_beside_a_pair_are_said_to_be_unused_and_the_line_uses_them() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 8.5, "score_rejected": 6.0}
    (record,) = read(row)
    assert record.rewards == [1.0, 0.0]
    assert record.unused == (
        "'score_chosen', 'score_rejected' look like rewards and are not used; "
        "to use it: columns: {chosen_reward: score_chosen, rejected_reward: score_rejected}"
    )
    columns = {"chosen_reward": "score_chosen", "rejected_reward": "score_rejected"}
    (record,) = read(row, columns=columns)
    assert (record.rewards, record.unused) == ([8.5, 6.0], "")


def test_what_fits_two_shapes_is_refused_with_both_and_read_as_settles_it() -> None:
    row = alpaca(1)[0] | messages(1)[0]
    refused = refusal(row)
    assert refused.startswith("ambiguous_shape: can be read as ")
    assert "chats, each with its last turn as the completion (read_as: messages)" in refused
    assert "Alpaca's instructions, with their inputs below them (read_as: alpaca)" in refused
    assert read(row, read_as="messages")[0].texts == [right(1)]
    assert read(row, read_as="alpaca")[0].prompt == "Add the numbers.\n\n1, 2"
    assert refusal(alpaca(1)[0], read_as="messages").startswith("missing_field: no messages, as read_as says")


@pytest.mark.parametrize(
    ("row", "both"),
    [
        (
            {"prompt": "p", "completions": ["a"], "completion": "b"},
            ("groups of completions", "one completion a record"),
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]},
            ("thumbs", "steps of one completion"),
        ),
        (
            {"prompt": "other", "messages": [user("p"), said("a")]},
            ("'messages' as a chat", "'prompt' as a prompt"),
        ),
        ({"prompt": "p", "completion": "a", "label": True, "thumb": "down"}, ("'label'", "'thumb'")),
        ({"prompt": "p", "answers": [{"text": "a", "score": 1, "rank": 2}]}, ("'score'", "'rank'")),
        ({"instruction": "i", "output": "o", "chosen": "a", "rejected": "b"}, ("'output'", "'chosen'")),
    ],
)
def test_every_refusal_of_two_readings_names_both(row: Any, both: tuple[str, str]) -> None:
    refused = refusal(row)
    assert refused.startswith("ambiguous_shape")
    assert all(reading in refused for reading in both), refused


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"id": 1, "question": "q", "answer": "a"}, "columns: {prompt: question, completion: answer}"),
        ({"query": "q", "replies": ["a", "b"]}, "columns: {prompt: query, completions: replies}"),
        ({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}, "columns: {prompt: question}"),
        (
            {"post": "q", "summary": "a", "rating": 4},
            "columns: {prompt: post, completion: summary, reward: rating}",
        ),
        (
            {"data": {"user_input": "q", "output": "a"}},
            "columns: {prompt: data.user_input, completion: data.output}",
        ),
        ({"prompt": "p", "text": "a"}, "columns: {completion: text}"),
        ({"n": 1}, "columns: {prompt: <column of the prompt>, completion: <column of the completion>}"),
    ],
)
def test_any_other_row_is_told_what_was_found_and_the_line_that_maps_it(row: Any, line: str) -> None:
    refused = refusal(row)
    assert refused.startswith("missing_field")
    assert f"found {sorted(row)}" in refused
    assert refused.endswith(line), refused
    if "<" not in line:
        pairs = (pair.split(": ") for pair in line.removeprefix("columns: {").removesuffix("}").split(", "))
        (record,) = read(row, columns=dict(pairs))
        assert record.prompt
        assert record.texts


def test_pairs_that_part_before_their_last_turn_are_refused_not_cut() -> None:
    one = [user("p"), said("a"), user("q"), said("b")]
    other = [user("p"), said("c"), user("q"), said("d")]
    assert "part at message 2 of 4 and 4" in refusal({"chosen": one, "rejected": other})
    assert "no message in common" in refusal({"chosen": [said("a")], "rejected": [said("b")]})


def test_a_pair_without_a_prompt_beside_another_text_is_not_taken_for_whole_texts() -> None:
    row = {"question": "p", "chosen": "the sky is blue", "rejected": "the sky is red"}
    assert refusal(row).startswith("missing_field")
    assert read(row, read_as="text_pairs")[0].prompt == "the sky is"


def test_feedback_of_one_name_is_the_reward_and_of_several_must_be_named() -> None:
    def trace(*marks: tuple[str, Any]) -> dict[str, Any]:
        given = [{"assessment_name": name, "feedback": {"value": value}} for name, value in marks]
        return {"trace_id": "t", "request": {"question": "p"}, "response": "a", "assessments": given}

    # two people, one up and one down
    assert read(trace(("thumb", True), ("thumb", False)))[0].rewards == [0.5]
    assert read(trace(("note", "well written"), ("thumb", True)))[0].rewards == [1.0]
    assert read(trace())[0].rewards is None
    refused = refusal(trace(("thumb", True), ("relevance", 0.25)))
    assert refused.endswith(
        "'relevance' as the reward or 'thumb' as the reward; name one, as in columns: {reward: relevance}"
    )
    named = read(trace(("thumb", True), ("relevance", 0.25)), columns={"reward": "relevance"})
    assert named[0].rewards == [0.25]


def test_cells_of_a_table_of_text_hold_chats_and_thumbs() -> None:
    row = {"messages": json.dumps([user("p"), said("a")]), "reward": "0.5"}
    (record,) = read(row, cells=True)
    assert (record.prompt, record.texts, record.rewards) == ([user("p")], ["a"], [0.5])
    (record,) = read({"prompt": "p", "completion": "a", "label": "True"}, cells=True)
    assert record.rewards == [1.0]
    (record,) = read({"instruction": "i", "input": "", "output": '{"a": 1}'}, cells=True)
    assert (record.prompt, record.texts) == ("i", ['{"a": 1}'])


def test_spans_that_opentelemetry_itself_wrote_are_read() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    expected = []
    for n in range(COUNT):
        row, groups = otel_span(n)
        with provider.get_tracer("shop").start_as_current_span("chat") as span:
            span.set_attributes(row["attributes"])
            span.add_event("gen_ai.evaluation.result", row["events"][0]["attributes"])
        expected += groups
    rows = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    assert [(r.prompt, r.texts, r.rewards) for row in rows for r in read(row)] == expected


@pytest.mark.nightly
def test_traces_that_mlflow_itself_wrote_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shop")
    mlflow.create_experiment("shop")
    expected, traced = [], []
    for n in range(COUNT):
        _, ((prompt, (text,), rewards),) = mlflow_trace(n)
        with mlflow.start_span("chat", span_type="CHAT_MODEL") as span:
            span.set_inputs({"messages": prompt, "model": "m"})
            span.set_outputs({"choices": [{"finish_reason": "stop", "message": said(text)}]})
        expected.append((prompt, [text], rewards))
        traced.append(span.trace_id)
    mlflow.flush_trace_async_logging()  # what is said of a trace needs the trace
    person = AssessmentSource(source_type="HUMAN", source_id="u1")
    for trace, (_, _, rewards) in zip(traced, expected, strict=True):
        mlflow.log_feedback(trace_id=trace, name="thumb", value=rewards == [1.0], source=person)
    traces = mlflow.search_traces(return_type="list")
    rows = [json.loads(trace.to_json()) for trace in traces]
    table = json.loads(mlflow.search_traces().to_json(orient="records"))
    for found in (rows, table):
        groups = [(r.prompt, r.texts, r.rewards) for row in found for r in read(row)]
        assert sorted(groups, key=str) == sorted(expected, key=str)
