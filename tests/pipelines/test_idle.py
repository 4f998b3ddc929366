"""The seconds in which no pod of a run works, beside those that were seen on a cluster."""

from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.dags.idle import PATCHED_REQUEUE_S, UPSTREAM_REQUEUE_S, idle_seconds, pods_in_sequence

DEMO = Path(__file__).parents[1] / "data/0.1.0/demo_dag.yaml"
SEEN = {PATCHED_REQUEUE_S: 52.0, UPSTREAM_REQUEUE_S: 145.0}
"""Of this DAG on Kubernetes 1.34.4 with KFP 2.17.0, by the time between two looks of the controller."""


@pytest.mark.parametrize("requeue_s", SEEN)
def test_what_is_predicted_is_what_was_seen(requeue_s: float) -> None:
    spec, _ = read_compiled(DEMO)
    assert idle_seconds(spec, requeue_s) == pytest.approx(SEEN[requeue_s], rel=0.1)


def task(component: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"componentRef": {"name": component}, "dependentTasks": list(after), **more}


def test_the_longest_chain_counts_and_a_loop_has_two_drivers() -> None:
    inner = {"dag": {"tasks": {"x": task("pod"), "y": task("pod", "x")}}}
    tasks = {
        "a": task("pod"),
        "b": task("pod", "a"),
        "beside": task("pod"),
        "loop": task("inner", "a", parameterIterator={}),
    }
    spec = {"root": {"dag": {"tasks": tasks}}, "components": {"pod": {}, "inner": inner}}
    assert pods_in_sequence(spec) == 1 + 2 + (2 + 2 * 2)  # the root's driver, a, and the loop with x and y
    del tasks["loop"]
    assert pods_in_sequence(spec) == 1 + 2 + 2
