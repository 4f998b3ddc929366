"""Journeys of tests/cluster in which little or nothing is done again, their client's half.

Each stands there as it is. KFP's cache and the records of tasks answer as ``Here`` has it: by the DAG and the
parameters that the client sent.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import tiny
from tests.cluster import test_align, test_journeys
from tests.cluster.cluster import ACCOUNT
from tests.cluster.conftest import Data
from tests.pipelines.command import IMAGE
from tests.pipelines.here import Here, cached_tasks

CACHED = {"stages", "validate", "score", "reference", "evaluate", "train", "evaluate-2", "report", "promote"}


@pytest.fixture
def whole(here: Here, recipe: Data) -> dict[str, Any]:
    """The summary of a first run, which does everything."""
    here.server.scripts = {"": here.whole}
    test_align.run(here, recipe, "whole", "--timeout", "45")
    found: dict[str, Any] = here.read("summary.json")
    assert len(found["executed"]) == 9
    return found


def test_prompts_alone(here: Here, recipe: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tiny, "save_drawing_model", lambda folder: folder.mkdir(parents=True)
    )  # nobody loads it

    def draws(run: Any) -> Any:
        prompts = Path(here.asked[0][1], "prompts.jsonl").read_text().splitlines()
        drawn = len(prompts) * here.given(run)["settings"]["sample"]["completions"]
        metrics = {"completions/drawn": drawn, "completions/reused": 0}
        here.left = {"sample": SimpleNamespace(metrics=metrics)}
        return here.whole(run)

    here.server.scripts = {"": draws}
    test_journeys.test_prompts_alone_get_their_completions_and_a_second_run_draws_none(here, recipe)
    first, second = here.server.runs.values()
    assert first.pipeline_version_reference == second.pipeline_version_reference
    assert [len(here.worked(run)) for run in (first, second)] == [16, 1]
    names = {each.name for each in here.worked(first)}
    assert {f"{stage}-shard-{n}" for stage in ("sample", "score", "reference") for n in (0, 1)} <= names


def test_without_the_cache_of_kfp(
    here: Here, recipe: Data, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (first,) = here.server.runs.values()

    def compiles(words: list[str], **options: Any) -> None:
        done = here.command(*words[words.index("compile") :], host=False)
        assert done.code == 0, done.error

    def find(folder: str) -> list[str]:
        name = here.spec(here.run)["pipeline_spec"]["pipelineInfo"]["name"]
        root = f"mlpipeline/v2/artifacts/{name}/{here.run.run_id}"
        left = [f"{root}/{each.stage}/uid/output/manifest.json" for each in here.worked(here.run)]
        return [path for path in left if path.startswith(folder)]

    monkeypatch.setattr(test_align, "subprocess", SimpleNamespace(run=compiles))
    test_align.test_without_the_cache_of_kfp_the_tasks_find_what_they_left_and_copy_it(
        here, recipe, whole, tmp_path, SimpleNamespace(find=find)
    )
    assert (cached_tasks(here.spec(first)), cached_tasks(here.spec(here.run))) == (CACHED, set())
    assert len(here.worked(here.run)) == len(here.worked(first)) == 9  # every one was begun
    assert here.run.service_account == ACCOUNT


def test_an_image_with_reworded_docstrings(here: Here, recipe: Data, whole: dict[str, Any]) -> None:
    (first,) = here.server.runs.values()
    image = IMAGE.replace("copg@", "reworded@")
    options = SimpleNamespace(getoption={"--reworded-image": image}.get)
    test_align.test_an_image_whose_docstrings_are_reworded_computes_nothing_again(
        here, recipe, whole, options
    )
    assert len(here.server.versions) == 2
    sent, before = (json.dumps(here.spec(run)) for run in (here.run, first))
    assert (sent.count(image), sent.count(IMAGE)) == (before.count(IMAGE), 0)
    assert len(here.worked(here.run)) == 9  # KFP's cache goes by the image: every one was begun


def test_a_schedule_of_every_other_minute(here: Here, recipe: Data, whole: dict[str, Any]) -> None:
    server = here.server
    crons: list[str] = []

    def looks(called: str) -> None:
        server.before = looks
        if not called.endswith("/runs") or crons:
            return
        (schedule,) = server.schedules.values()  # its time has come
        crons.append(schedule.trigger.cron_schedule.cron)
        server.fire(schedule).state = "SUCCEEDED"

    server.before = looks
    test_align.test_a_schedule_starts_runs_of_the_pinned_version(here, recipe, whole)
    assert crons == [f"0 {','.join(map(str, range(0, 60, 2)))} * * * *"]  # with seconds first
    assert (len(server.versions), server.schedules) == (1, {})
    assert [each.name for each in here.worked(here.run)] == ["resolve"]  # KFP's cache answers for the rest
