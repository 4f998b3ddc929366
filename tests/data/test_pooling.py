"""Pooling the completions of a prompt: what is merged, what a reward becomes, what is counted."""

import math

import numpy as np
import pyarrow as pa
import pytest

from copg.data.columns import RECORD_SCHEMA, to_portion
from copg.data.found import Reading
from copg.data.pooling import (
    Pool,
    by_exact_prompt,
    mean_reward,
    pool_completions,
    pool_records,
    reward_spread,
    tied,
    to_groups,
)
from copg.data.rows import Row
from copg.data.shapes import RecordReader
from copg.data.spool import Bucket
from copg.records import GROUP_SCHEMA, groups_to_table, prompt_id, table_to_groups


def record(texts: list[str], rewards: list[float] | None, finished: list[bool] | None = None) -> dict:
    flags = finished or [True] * len(texts)
    return {"texts": texts, "rewards": rewards, "finished": flags, "overlays": [None] * len(texts)}


def bucket(rows: list[dict], groups: list[list[int]]) -> Bucket:
    """Rows as a bucket whose prompts are the given lists of row numbers."""
    portion = to_portion([Row("f", n, value=row) for n, row in enumerate(rows, 1)], RecordReader(Reading()))
    table = pa.Table.from_batches([portion.records.select(RECORD_SCHEMA.names)])
    starts = np.cumsum([0] + [len(group) for group in groups[:-1]])
    return Bucket(table, np.array([row for group in groups for row in group]), starts)


def test_equal_completions_stand_once_in_order_of_first_appearance() -> None:
    pool = pool_completions([record(["b", "a", "b"], [1.0, 2.0, 1.0]), record(["c", "a"], [3.0, 2.0])])
    assert pool == Pool(
        ["b", "a", "c"], [True, True, True], [1.0, 2.0, 3.0], conflicts=0, places=[(0, 0), (0, 1), (1, 0)]
    )


def test_different_rewards_of_one_completion_become_their_mean() -> None:
    pool = pool_completions([record(["a", "b"], [0.0, 5.0]), record(["a"], [1.0]), record(["a"], [0.5])])
    # (0 + 1 + .5) / 3 = .5
    assert pool.rewards == pytest.approx([0.5, 5.0])
    assert pool.conflicts == 1


def test_a_completion_that_was_cut_off_is_not_the_finished_one() -> None:
    pool = pool_completions([record(["a", "a"], [0.0, 1.0], [True, False])])
    assert (pool.texts, pool.finished, pool.rewards) == (["a", "a"], [True, False], [0.0, 1.0])


def test_no_rewards_stay_none() -> None:
    assert pool_completions([record(["a"], None), record(["b", "a"], None)]).rewards is None


def test_the_mean_is_exact_where_all_agree_and_finite_where_they_are_huge() -> None:
    assert mean_reward([0.1] * 3) == 0.1  # sum([.1] * 3) / 3 would be .10000000000000002
    assert math.isfinite(mean_reward([1.7e308, 1.6e308]))


def test_a_group_has_all_but_its_completions_from_its_first_record() -> None:
    rows = [
        {"prompt": "p", "completions": ["a", "b"], "rewards": [0.0, 1.0], "id": 1},
        {"prompt": "q", "completions": ["x", "y"], "rewards": [0.5, 0.5]},
        {"prompt": "p ", "completions": ["c", "a"], "rewards": [2.0, 4.0], "id": 2},
        {"prompt": "r", "completions": ["z", "z"]},
    ]
    # prompts p (rows 0 and 2), q, r, given out in the order r, p, q
    pooled = pool_records(bucket(rows, [[0, 2], [1], [3]]), np.array([2, 0, 1]))
    assert pooled.groups["source"].to_pylist() == ["f:4", "f:1", "f:2"]
    assert pooled.groups["texts"].to_pylist() == [["z"], ["a", "b", "c"], ["x", "y"]]
    assert pooled.groups["rewards"].to_pylist() == [None, [2.0, 1.0, 2.0], [0.5, 0.5]]
    assert pooled.groups["columns"].to_pylist() == ["{}", '{"id": 1}', "{}"]
    assert pooled.records.tolist() == [1, 2, 1]
    assert pooled.distinct.tolist() == [1, 3, 2]
    assert pooled.duplicates.tolist() == [1, 1, 0]
    assert pooled.conflicts.tolist() == [0, 1, 0]
    assert pooled.differing.tolist() == [0, 1, 0]


def test_columns_that_differ_stay_with_their_completions() -> None:
    rows = [
        {"prompt": "p", "completions": ["a", "b"], "id": 1, "tests": ["t"], "lang": "en"},
        {"prompt": "p", "completions": ["b", "c"], "id": 2, "tests": ["t"]},
        {"prompt": "p", "completions": ["d"], "id": 1, "tests": ["t"], "lang": "en"},
        {"prompt": "p", "answers": [{"answer": "e", "model": "m"}], "id": 3, "tests": ["t"], "lang": "en"},
    ]
    pooled = pool_records(bucket(rows, [[0, 1, 2, 3]]), np.arange(1))
    (group,) = table_to_groups(to_groups(pooled.groups, np.array([True])))
    assert group.columns == {"id": 1, "tests": ["t"], "lang": "en"}
    # b stood first in the first record; what the second lacks is null; e has a column of its own as well
    assert {c.text: c.columns for c in group.completions} == {
        "a": {},
        "b": {},
        "c": {"id": 2, "lang": None},
        "d": {},
        "e": {"id": 3, "model": "m"},
    }
    assert group.columns_of(group.completions[2]) == {"id": 2, "tests": ["t"], "lang": None}
    assert pooled.differing.tolist() == [2]


def test_prompts_pool_to_the_letter_in_order_of_appearance() -> None:
    prompts = ["q", "a b", "a  b", "a b", "caf\u00e9", "a\nb", "cafe\u0301", "a  b"]
    rows = [{"prompt": p, "completions": [f"x{n}", "y"]} for n, p in enumerate(prompts)]
    # by normalised prompt: q; the five of a and b; the two coffees
    whole = bucket(rows, [[0], [1, 2, 3, 5, 7], [4, 6]])
    exact, first_forms = by_exact_prompt(whole)
    ends = [*exact.starts[1:].tolist(), len(exact.order)]
    members = [exact.order[a:b].tolist() for a, b in zip(exact.starts, ends, strict=True)]
    assert members == [[0], [1, 3], [2, 7], [5], [4], [6]]
    assert first_forms.tolist() == [True, True, False, False, True, False]
    groups = table_to_groups(to_groups(pool_records(exact, np.arange(6)).groups, first_forms))
    assert [group.prompt for group in groups] == ["q", "a b", "a  b", "a\nb", "caf\u00e9", "cafe\u0301"]
    ids = [group.id for group in groups]
    assert len(set(ids)) == 6
    assert [ids[n] for n in (0, 1, 4)] == [prompt_id(p) for p in ("q", "a b", "caf\u00e9")]
    assert ids[1][:16] == ids[2][:16] == ids[3][:16]
    assert [len(each) for each in ids] == [32] * 6


def test_a_bucket_without_two_forms_of_a_prompt_is_left_as_it_is() -> None:
    whole = bucket([{"prompt": p, "completions": ["x"]} for p in "aba"], [[0, 2], [1]])
    exact, first_forms = by_exact_prompt(whole)
    assert exact is whole
    assert first_forms.all()


def test_spread_and_ties_are_those_of_each_group() -> None:
    rows = [
        {"prompt": "p", "completions": ["a", "b"], "rewards": [0.0, 1.0]},
        {"prompt": "q", "completions": ["a", "b", "c"], "rewards": [0.1, 0.1, 0.1]},
        {"prompt": "r", "completions": ["a", "b"]},
    ]
    groups = pool_records(bucket(rows, [[0], [1], [2]]), np.arange(3)).groups
    spread = reward_spread(groups)
    # mean .5, each .5 away; all equal; none given
    assert spread[0] == pytest.approx(0.5)
    assert spread[1] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(spread[2])
    assert tied(groups).tolist() == [False, True, False]


def test_rows_become_what_the_next_stages_read() -> None:
    rows = [
        {
            "prompt": "p",
            "completions": ["a", "b"],
            "rewards": [0.0, 1.0],
            "finished": [True, False],
            "x": {"y": 1},
        },
        {"prompt": [{"role": "user", "content": "q"}], "completions": ["c", "d"]},
    ]
    table = to_groups(pool_records(bucket(rows, [[0], [1]]), np.arange(2)).groups, np.array([True, True]))
    assert table.schema == GROUP_SCHEMA
    groups = table_to_groups(table)
    assert groups_to_table(groups).equals(table)
    assert [c.reward for c in groups[0].completions] == [0.0, 1.0]
    assert [c.finished for c in groups[0].completions] == [True, False]
    assert groups[0].columns == {"x": {"y": 1}}
    assert groups[1].prompt == [{"role": "user", "content": "q"}]
    assert [c.reward for c in groups[1].completions] == [None, None]
