"""What a task leaves says what it is, also where an earlier task's work is handed on."""

import json
from pathlib import Path

from copg_components._process import recorded
from kfp import dsl

from copg.artifacts import begin, seal
from copg.run.task_record import RUN


def artifact(folder: Path) -> dsl.Dataset:
    return dsl.Dataset(name="groups", uri=str(folder))


def test_an_artifact_carries_its_card_and_so_does_one_that_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps({"run": "r1"}))
    plan, first = {"key": "k" * 64, "config": {}}, artifact(tmp_path / "first")
    with recorded("validate", plan, str(tmp_path), inputs={}, outputs={"groups": first}) as record:
        assert not record.answers
        begin(Path(first.path))
        sealed = seal(
            Path(first.path), schema="groups", stage="validate", rows=3, config={}, parents={}, facts={}
        )
    expected = {"schema": "groups", "rows": 3, "digest": sealed.digest[:12]}
    assert first.metadata == expected
    again = artifact(tmp_path / "second")
    with recorded("validate", plan, str(tmp_path), inputs={}, outputs={"groups": again}) as record:
        assert record.answers
    assert (again.uri, again.metadata) == (first.uri, expected)


def test_settings_written_by_hand_need_no_key_and_are_worked_every_time(tmp_path: Path) -> None:
    for number in range(2):
        with recorded("validate", {"config": {"seed": 1}}, str(tmp_path), inputs={}) as record:
            assert (number, record.answers) == (number, False)
    with recorded("validate", {"config": {"seed": 2}}, str(tmp_path), inputs={}) as other:
        assert other.key != record.key
