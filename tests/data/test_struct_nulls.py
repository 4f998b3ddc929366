"""Tools and calls in columns of structs are those of JSON lines: what a record lacks is no null."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copg.data.columns import Portion, to_portion
from copg.data.found import Reading
from copg.data.readers import Rows
from copg.data.shapes import RecordReader
from copg.data.struct_nulls import REMARK

USER = {"role": "user", "content": "Where?"}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    called = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [called]}


LOOK = tool("look", order={"type": "integer", "description": "Its number."}, at={"type": "string"})
SEND = tool(
    "send", to={"type": "string", "enum": ["a", "b"]}, items={"type": "array", "items": {"type": "string"}}
)
RECORDS = [
    {
        "prompt": [USER, call("look", order=3), {"role": "tool", "content": "here", "name": "look"}],
        "chosen": [{"role": "assistant", "content": "Here."}],
        "rejected": [call("send", to="a", items=["x"])],
        "tools": [LOOK, SEND],
        "about": {"day": None, "place": "x"},
    },
    {
        "prompt": [USER, call("send", to="b"), {"role": "tool", "content": "sent"}],
        "chosen": [call("look", order=4, at="home")],
        "rejected": [{"role": "assistant", "content": "No."}],
        "tools": [SEND],
        "about": {"day": 1, "place": None},
    },
]
"""No two calls, and no two tools, have the same keys; those that they share are in one order."""


def read(path: Path) -> Portion:
    return to_portion(Rows(str(path)), RecordReader(Reading()))


def as_lines(folder: Path, records: list[dict[str, Any]]) -> Path:
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder / "a.jsonl"


def as_parquet(folder: Path, records: list[dict[str, Any]], schema: pa.Schema | None = None) -> Path:
    pq.write_table(pa.Table.from_pylist(records, schema=schema), folder / "a.parquet")
    return folder / "a.parquet"


def as_data_set(folder: Path, records: list[dict[str, Any]]) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset(pa.Table.from_pylist(records)).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("write", [as_parquet, as_data_set])
def test_structs_say_what_json_lines_say(write: Any, tmp_path: Path) -> None:
    structs, lines = read(write(tmp_path, RECORDS)), read(as_lines(tmp_path, RECORDS))
    assert (structs.records.num_rows, structs.defects.num_rows) == (2, 0)
    for name in structs.records.schema.names:
        if name not in ("source", "unused"):
            assert structs.records[name].to_pylist() == lines.records[name].to_pylist(), name
    tools = [json.loads(columns)["tools"] for columns in structs.records["columns"].to_pylist()]
    assert tools == [record["tools"] for record in RECORDS]
    assert structs.records["unused"].to_pylist() == [REMARK, REMARK]  # a call's null could have been meant
    assert lines.records["unused"].to_pylist() == ["", ""]


def test_what_others_keep_in_structs_keeps_its_nulls(tmp_path: Path) -> None:
    found = read(as_parquet(tmp_path, RECORDS)).records["columns"].to_pylist()
    about = [json.loads(columns)["about"] for columns in found]
    assert about == [{"day": None, "place": "x"}, {"day": 1, "place": None}]


def test_tools_that_lack_keys_are_said_nothing_of_unless_a_null_could_be_meant(tmp_path: Path) -> None:
    plain = [{"prompt": "a", "completion": "b", "tools": [each]} for each in (LOOK, SEND)]
    assert read(as_parquet(tmp_path, plain)).records["unused"].to_pylist() == ["", ""]
    default = tool("wait", order={"type": "integer", "default": 3})
    given = [{"prompt": "a", "completion": "b", "tools": [each]} for each in (default, LOOK)]
    found = read(as_parquet(tmp_path, given)).records
    assert found["unused"].to_pylist() == ["", REMARK]
    assert [json.loads(columns)["tools"] for columns in found["columns"].to_pylist()] == [[default], [LOOK]]


def test_maps_and_json_text_keep_the_nulls_that_are_meant(tmp_path: Path) -> None:
    text = {"type": "function", "function": {"name": "look", "arguments": json.dumps({"order": None})}}
    records = [{"prompt": [USER], "chosen": [{"role": "assistant", "content": "", "tool_calls": [text]}]}]
    records[0]["rejected"] = [{"role": "assistant", "content": "No."}]
    found = read(as_parquet(tmp_path, records)).records
    assert '"order": null' in found["overlays"].to_pylist()[0][0]
    assert found["unused"].to_pylist() == [""]
    arguments = pa.map_(pa.string(), pa.int64())
    kind = pa.struct([("name", pa.string()), ("arguments", arguments)])
    called = pa.list_(pa.struct([("type", pa.string()), ("function", kind)]))
    said = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", called)]))
    schema = pa.schema([("prompt", said), ("chosen", said), ("rejected", said)])
    text["function"]["arguments"] = {"order": None}  # type: ignore[index]
    found = read(as_parquet(tmp_path, records, schema)).records
    assert '"order": null' in found["overlays"].to_pylist()[0][0]
