"""Each component alone, as a pod of its own, on the artifacts that the one before it left.

resolve runs before each of them; report, promote and summary take artifacts of every trial, and run in
test_align.py.
"""

import pytest

from tests.cluster.cluster import ACCOUNT, Cluster
from tests.cluster.conftest import ON_VOLUME, Data

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

RUN_DIR = f"{ON_VOLUME}-single"
STAGES = {
    "validate": ([], "groups"),
    "score": (["groups"], "scored"),
    "reference": (["scored"], "referenced"),
    "train": (["referenced"], "policy"),
    "evaluate": (["scored", "policy"], "evaluation"),
}
"""What each takes and leaves, in the order in which they depend on one another."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_component_runs_in_a_pod_and_leaves_its_artifact(ready: Cluster, data: Data, stage: str) -> None:
    takes, leaves = STAGES[stage]
    if missing := set(takes) - ready.addresses.keys():
        pytest.fail(f"no {sorted(missing)}: an earlier component failed, or was not asked to run")
    ready.pipelines(*single(ready, data, stage, takes), "--timeout", "30")
    (record,) = (record for record in ready.records(RUN_DIR).values() if record.stage == stage)
    assert record.state == "succeeded"
    assert "://" in record.outputs[leaves]
    ready.addresses[leaves] = record.outputs[leaves]


def single(cluster: Cluster, data: Data, stage: str, takes: list[str]) -> list[str]:
    """The words that run one stage."""
    given = [word for name in takes for word in ("--from", f"{name}={cluster.addresses[name]}")]
    words = ["run", "align", "--on", "cluster", "--recipe", str(data.recipe), "--image", cluster.image]
    words += ["--run-dir", RUN_DIR, "--service-account", ACCOUNT, "--pipeline", "copg-cluster-test"]
    return [*words, "--only", stage, *given]
