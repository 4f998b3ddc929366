"""Records that nobody here wrote: SciTLDR as it is, and its sentences in the shapes of others."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copg.data.columns import RECORD_SCHEMA, to_portion
from copg.data.found import Reading
from copg.data.pooling import by_exact_prompt, pool_records, to_groups
from copg.data.rows import Row
from copg.data.shapes import RecordReader
from copg.data.spool import Spool
from copg.records import Group, prompt_id, table_to_groups

DEV = Path(__file__).parents[3] / "shared/data/scitldr/dev.jsonl"
PANDALM = Path(__file__).parents[3] / "shared/data/dirty/pandalm_nonstring/rows.jsonl"
pytestmark = pytest.mark.skipif(not DEV.is_file(), reason=f"the SciTLDR records are not at {DEV}")


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def groups_of(rows: list[Any], folder: Path) -> dict[int, Group]:
    """Of the rows, by the number of the first of each, counted from 0."""
    portion = to_portion([Row("f", n, value=row) for n, row in enumerate(rows)], RecordReader(Reading()))
    assert portion.defects.num_rows == 0
    groups = {}
    with Spool(folder, RECORD_SCHEMA) as spool:
        spool.append(portion.records.select(RECORD_SCHEMA.names))
        for bucket in spool.buckets():
            exact, first_forms = by_exact_prompt(bucket)
            pooled = pool_records(exact, np.arange(len(exact.starts)))
            for group in table_to_groups(to_groups(pooled.groups, first_forms)):
                groups[int(group.source.removeprefix("f:"))] = group
    return groups


def test_real_groups_keep_their_ids_and_the_one_prompt_of_two_records_is_one_group(tmp_path: Path) -> None:
    rows = rows_of(DEV)
    groups = groups_of(rows, tmp_path)
    assert len(groups) == len(rows) - 1 == 599
    assert all(group.id == prompt_id(group.prompt) for group in groups.values())
    numbers = defaultdict(list)
    for number, row in enumerate(rows):
        numbers[row["prompt"]].append(number)
    ((first, second),) = (each for each in numbers.values() if len(each) > 1)
    assert second not in groups
    # both records hold the same sentences, so that each stood in the first
    assert set(rows[first]["completions"]) == set(rows[second]["completions"])
    assert {groups[first].columns_of(c)["id"] for c in groups[first].completions} == {rows[first]["id"]}


def test_real_sentences_mean_the_same_in_the_shape_of_others(tmp_path: Path) -> None:
    rows = [row for row in rows_of(DEV)[:60] if len(set(row["completions"])) > 1]
    assert len(rows) >= 50
    best = [max(zip(row["rewards"], row["completions"], strict=True))[1] for row in rows]
    worst = [min(zip(row["rewards"], row["completions"], strict=True))[1] for row in rows]
    chats = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    for shaped in (
        [
            {"chosen": [*chat, said(a)], "rejected": [*chat, said(b)]}
            for chat, a, b in zip(chats, best, worst, strict=True)
        ],
        [
            {"input": {"messages": chat}, "preferred_output": [said(a)], "non_preferred_output": [said(b)]}
            for chat, a, b in zip(chats, best, worst, strict=True)
        ],
        [
            {
                f"{side}": f"\n\nHuman: {chat[0]['content']}\n\nAssistant: {text}"
                for side, text in (("chosen", a), ("rejected", b))
            }
            for chat, a, b in zip(chats, best, worst, strict=True)
        ],
    ):
        folder = tmp_path / "-".join(shaped[0])
        folder.mkdir(exist_ok=True)
        groups = groups_of(shaped, folder)
        found = [
            (group.prompt, [c.text for c in group.completions], [c.reward for c in group.completions])
            for _, group in sorted(groups.items())
        ]
        expected = zip(chats, best, worst, strict=True)
        assert found == [(chat, [a, b], [1.0, 0.0]) for chat, a, b in expected]
    scored = [
        {
            "instruction": row["prompt"],
            "completions": [
                {"response": text, "overall_score": reward}
                for text, reward in zip(row["completions"], row["rewards"], strict=True)
            ],
        }
        for row in rows
    ]
    (tmp_path / "scored").mkdir()
    (tmp_path / "plain").mkdir()
    plain, answers = groups_of(rows, tmp_path / "plain"), groups_of(scored, tmp_path / "scored")
    for number, group in plain.items():
        other = answers[number]
        assert (other.prompt, other.id) == (group.prompt, group.id)
        assert [(c.text, c.reward) for c in other.completions] == [
            (c.text, c.reward) for c in group.completions
        ]


@pytest.mark.skipif(not PANDALM.is_file(), reason=f"PandaLM's records are not at {PANDALM}")
def test_real_records_of_no_shape_are_told_their_columns() -> None:
    rows = rows_of(PANDALM)
    portion = to_portion([Row("f", n, value=row) for n, row in enumerate(rows)], RecordReader(Reading()))
    assert portion.records.num_rows == 0
    for row, defect in zip(rows, portion.defects.to_pylist(), strict=True):
        assert defect["reason"] == "missing_field"
        assert f"found {sorted(row)}; say which is which: columns: {{prompt: instruction" in defect["detail"]
