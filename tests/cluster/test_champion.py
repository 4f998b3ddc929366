"""A second and a third run with a champion, on new records, the artifacts of the ones before deleted."""

from typing import Any

import pytest

from copg.run.task_record import TaskRecord
from tests import tiny
from tests.cluster.cluster import VOLUME_POD, Cluster
from tests.cluster.conftest import ON_VOLUME, Data
from tests.cluster.test_align import model_of, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]

NAME = "weekly"
RUN_DIR, RECORDS = f"{ON_VOLUME}-{NAME}", f"{ON_VOLUME}-{NAME}.jsonl"
LEARNT = '[{"name": "format", "params": {"pattern": "cat", "match": "anywhere"}}]'
"""A reward that the first run raises for sure, so that there is a champion."""
SETTINGS = (
    *(f"records={RECORDS}", f"rewards={LEARNT}", "trials.0.beta=0.05"),
    *("promote.max_kl=1000", "promote.guards.max_length_ratio=100"),  # "cat" alone is a good answer
)
SETS = [word for setting in SETTINGS for word in ("--set", setting)]


def week(cluster: Cluster, data: Data, num_prompts: int) -> dict[str, Any]:
    """A run on as many records, of which the first are those of the run before; its summary."""
    here = data.home / f"{NAME}.jsonl"
    tiny.write_records(here, num_prompts, 4, rewarded=True)
    cluster.kubectl("cp", str(here), f"{cluster.namespace}/{VOLUME_POD}:{RECORDS}")
    run(cluster, data, NAME, *SETS, "--timeout", "45")
    found: dict[str, Any] = cluster.read(f"{RUN_DIR}/summary.json")
    return found


def of_champion(summary: dict[str, Any]) -> list[str]:
    """What a run was warned of about its champion."""
    return [warning for warning in summary["warnings"] if warning.startswith("champion: ")]


def evaluation_of_champion(cluster: Cluster, summary: dict[str, Any]) -> TaskRecord:
    """The record of the champion's evaluation in a run."""
    return next(
        record
        for record in cluster.records(RUN_DIR).values()
        if record.task == "evaluate-champion" and record.run == summary["run"]
    )


def delete_outputs(cluster: Cluster, artifacts: Any) -> None:
    """Delete everything that the tasks of the runs so far left in the object store."""
    addresses = {uri for record in cluster.records(RUN_DIR).values() for uri in record.outputs.values()}
    for address in addresses:
        if artifacts.exists(address):
            artifacts.rm(address, recursive=True)


def test_a_champion_outlasts_its_run_and_every_later_run_is_measured_against_it(
    ready: Cluster, data: Data, artifacts: Any
) -> None:
    first = week(ready, data, 200)
    assert first["promoted"], first["reasons"]
    for num_prompts in (240, 280):
        serving = ready.records(RUN_DIR)["promote"].facts["champion"]
        assert serving["source"].startswith(f"{RUN_DIR}/champions/{model_of(NAME)}/")
        delete_outputs(ready, artifacts)
        later = week(ready, data, num_prompts)
        assert (later["state"], of_champion(later)) == ("succeeded", [])
        assert evaluation_of_champion(ready, later).subject["uri"] == serving["source"]


def test_a_champion_that_is_gone_is_told_and_the_run_goes_on(ready: Cluster, data: Data) -> None:
    ready.sh(f"rm -rf {RUN_DIR}/champions")
    last = week(ready, data, 320)
    assert last["state"] == "succeeded"
    (warning,) = of_champion(last)
    assert "is gone from" in warning
    assert "evaluate-champion" not in last["executed"]
