"""Plans by their digest: the same plan or none."""

import json
from pathlib import Path

import pytest

from copg.errors import ConfigError
from copg.run.plan_files import PLANS, SHOWN, read_plan, store_plan

PLAN = {"key": "k" * 64, "config": {"epochs": 2, "rows": {"tokens_per_row": 0}}, "renewal": "again"}


def test_a_plan_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    short = store_plan(tmp_path, PLAN, {"epochs": 2.0, "optimizer": {"decay": "cosine"}})
    assert read_plan(short, str(tmp_path)) == PLAN
    assert short["told"] == "epochs=2 optimizer.decay=cosine"
    assert len(json.dumps(short)) < 200


def test_its_name_depends_on_all_it_holds_and_on_nothing_else(tmp_path: Path) -> None:
    names = [
        store_plan(tmp_path, plan, {})["digest"]
        for plan in (
            PLAN,
            dict(reversed(PLAN.items())),
            # a server makes floats of whole numbers
            {**PLAN, "config": {"epochs": 2.0, "rows": {"tokens_per_row": 0.0}}},
            {**PLAN, "config": {"epochs": 3}},
            {**PLAN, "renewal": "once more"},
        )
    ]
    assert len(set(names[:3])) == 1
    assert len(set(names)) == 3


def test_what_is_told_is_short(tmp_path: Path) -> None:
    told = store_plan(tmp_path, PLAN, {"rewards": ["x" * 500]})["told"]
    assert (len(told), told[-3:]) == (SHOWN, "...")


@pytest.mark.parametrize(
    ("left", "says"), [(None, "is gone"), ({**PLAN, "key": "other"}, "holds another plan than its name says")]
)
def test_a_plan_that_is_gone_or_was_changed_is_refused(
    tmp_path: Path, left: dict[str, object] | None, says: str
) -> None:
    short = store_plan(tmp_path, PLAN, {})
    path = tmp_path / PLANS / f"{short['digest']}.json"
    path.unlink() if left is None else path.write_text(json.dumps(left))
    with pytest.raises(ConfigError, match=f"{says}; resolve writes it"):
        read_plan(short, str(tmp_path))
    store_plan(tmp_path, PLAN, {})  # the next run mends it
    assert read_plan(short, str(tmp_path)) == PLAN


def test_a_plan_may_be_given_whole(tmp_path: Path) -> None:
    assert read_plan(PLAN, str(tmp_path)) == PLAN
