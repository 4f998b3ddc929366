"""Messages of trees that stand a row each, as OpenAssistant publishes them, are the groups of their trees."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from copg.data import message_rows
from copg.data.bounds import Bounds
from copg.data.columns import Portion
from copg.data.found import Reading
from copg.data.message_rows import whole_trees
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.data.rows import Row
from copg.errors import RecordError
from copg.run.first_records import read_first
from tests.data.public import oasst

NUM_TREES = 20


def rows_of(message: dict[str, Any], tree: str, parent: str | None = None) -> list[dict[str, Any]]:
    """The messages of a tree, each before its replies, with the columns of the published data set."""
    row = {
        "message_id": message["message_id"],
        "parent_id": parent,
        "user_id": "u",
        "created_date": "2023-02-05T14:23:50",
        "text": message["text"],
        "role": message["role"],
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "rank": message["rank"],
        "synthetic": False,
        "model_name": None,
        "message_tree_id": tree,
        "tree_state": "ready_for_export",
    }
    below = (each for reply in message["replies"] for each in rows_of(reply, tree, row["message_id"]))
    return [row, *below]


ROWS = [row for n in range(NUM_TREES) for row in rows_of(oasst(n)[0]["prompt"], f"t{n}")]
MEANT = [group for n in range(NUM_TREES) for group in oasst(n)[1]]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        pa_csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(text)
    return path


def read(path: Path, *, num_workers: int = 0, **bounds: int) -> Portion:
    found = [*portions(Rows(str(path), bounds=Bounds(**bounds)), Reading(), num_workers=num_workers)]
    names = ("records", "defects")
    tables = (pa.Table.from_batches([getattr(each, name) for each in found]) for name in names)
    return Portion(*(table.combine_chunks().to_batches()[0] if len(table) else table for table in tables))


def groups(portion: Portion) -> list[Any]:
    return [(row["messages"], row["texts"], row["rewards"]) for row in portion.records.to_pylist()]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet", ".csv"])
def test_rows_mean_what_their_trees_mean(tmp_path: Path, ending: str) -> None:
    found = read(write(tmp_path / f"a{ending}", ROWS), rows_per_chunk=7, bytes_per_block=500, num_workers=1)
    assert groups(found) == MEANT
    assert found.defects.num_rows == 0
    assert set(found.records["read_as"].to_pylist()) == {
        "OpenAssistant's trees of messages, ranks as rewards from 1 to 0, evenly spaced",
        "OpenAssistant's trees of messages",
    }
    # of a tree on the row of its root, and on the side of its root's prompt
    first = 2 if ending == ".csv" else 1  # below the header
    lines = [first + n for n, row in enumerate(ROWS) if row["parent_id"] is None for _ in range(2)]
    assert [int(each.partition(":")[2]) for each in found.records["source"].to_pylist()] == lines
    sides = found.records["side"].to_pylist()
    assert sides[::2] == sides[1::2] == found.records["id"].to_pylist()[::2]


def test_the_order_within_a_tree_and_its_id_do_not_matter(tmp_path: Path) -> None:
    rows = [*ROWS]
    trees = [rows[n : n + 6] for n in range(0, len(rows), 6)]
    for tree in trees:
        random.Random(tree[0]["message_id"]).shuffle(tree)
    mixed = [row for tree in trees for row in tree]
    assert mixed != ROWS
    found = read(write(tmp_path / "a.jsonl", mixed))
    assert [(group[0], sorted(group[1])) for group in groups(found)] == [(g[0], sorted(g[1])) for g in MEANT]
    without = [{name: held for name, held in row.items() if name != "message_tree_id"} for row in ROWS]
    assert groups(read(write(tmp_path / "b.jsonl", without))) == MEANT


def test_a_row_whose_tree_is_elsewhere_is_refused_with_what_would_help(tmp_path: Path) -> None:
    apart = [*ROWS[:6], *ROWS[7:18], ROWS[6]]  # the second tree's root comes last
    found = read(write(tmp_path / "a.jsonl", apart))
    assert groups(found) == [*MEANT[:2], *MEANT[4:6], (MEANT[2][0], [], None)]
    defects = found.defects.to_pylist()
    assert [each["source"] for each in defects] == [f"a.jsonl:{n}" for n in range(7, 12)]
    assert defects[0]["detail"] == (
        f"no row of the tree on which it hangs, parent_id={ROWS[7]['parent_id']!r}, stands beside it; "
        "sort them by message_tree_id, each tree with its root"
    )


def test_messages_in_a_ring_or_of_one_id_are_refused_and_not_lost() -> None:
    def made(*pairs: tuple[str, str | None]) -> list[Row]:
        held = {"role": "prompter", "text": "q", "message_tree_id": "t"}
        values = [{**held, "message_id": one, "parent_id": parent} for one, parent in pairs]
        return [*whole_trees(Row("f", n, value=value) for n, value in enumerate(values, 1))]

    ring = made(("a", None), ("b", "c"), ("c", "b"), ("d", "d"))
    assert [(row.line, row.defect is None) for row in ring] == [(1, True), (2, False), (3, False), (4, False)]
    twice = made(("a", None), ("b", "a"), ("b", "a"), ("a", None), ("c", "b"))
    assert [(row.line, row.defect is None) for row in twice] == [(1, True), (3, False), (4, False)]
    assert [row.defect and row.defect.detail for row in twice[1:]] == [
        "message_id='b' is that of line 2, which counts",
        "message_id='a' is that of line 1, which counts",
    ]
    (reply,) = twice[0].value["prompt"]["replies"]
    assert [each["message_id"] for each in reply["replies"]] == ["c"]


def test_messages_without_an_id_are_no_trees_and_end() -> None:
    nameless = {"message_id": "", "parent_id": None, "role": "prompter", "text": "q"}
    named = {**nameless, "message_id": "a"}
    for rows in ([Row("f", 1, value=nameless)], [Row("f", 1, value=named), Row("f", 2, value=nameless)]):
        assert [row.line for row in whole_trees(rows)] == [row.line for row in reversed(rows)]


def test_other_rows_and_trees_themselves_pass_as_they_are(tmp_path: Path) -> None:
    rows = [Row("f", 1, raw=b'{"prompt": "p"}'), Row("f", 2, raw=b"{"), Row("g", 1, value=oasst(0)[0])]
    assert [*whole_trees(rows)] == rows
    mapped = Reading({"prompt": "text", "completion": "lang"})
    (portion,) = portions(Rows(str(write(tmp_path / "a.jsonl", ROWS[:3]))), mapped, num_workers=0)
    assert portion.records["texts"].to_pylist() == [["en"]] * 3


def test_a_broken_row_among_messages_costs_itself_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS[:6])
    path.write_text(path.read_text().replace("\n", "\n{\n", 1))
    found = read(path)
    assert groups(found) == MEANT[:2]
    assert [each["source"] for each in found.defects.to_pylist()] == ["a.jsonl:2"]


def test_a_tree_without_end_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_rows, "MAX_ROWS", 3)
    rows = (Row("f", n, value=row) for n, row in enumerate(ROWS, 1))
    with pytest.raises(RecordError, match="f:4: a tree of more than 3 messages"):
        list(whole_trees(rows))


def test_a_first_look_sees_trees_too(tmp_path: Path) -> None:
    sample = read_first(str(write(tmp_path / "a.jsonl", ROWS)), Reading())
    assert (sample.refused, sample.rewarded) == ([], NUM_TREES)
