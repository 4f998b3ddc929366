"""Each component alone, as a pod of its own, on the artifacts that those before it left.

resolve runs before each of them, and summary, the exit handler of the whole DAG, in test_align.py.
"""

import json

import pytest

from tests.cluster.cluster import ACCOUNT, Cluster
from tests.cluster.conftest import ON_VOLUME, Data

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

RUN_DIR = f"{ON_VOLUME}-single"
TRIALS = ["baselines", "evaluations"]
STAGES = {
    "validate": ("validate", [], {"groups": "groups"}),
    "reward": ("reward", ["groups"], {"reward_model": ""}),
    "sample": ("sample", ["groups"], {"sampled": ""}),
    "score": ("score", ["groups"], {"scored": "scored"}),
    "reference": ("reference", ["scored"], {"referenced": "referenced"}),
    "train": ("train", ["referenced"], {"policy": "policy", "training": "trainings"}),
    "evaluate-reference": ("evaluate", ["scored"], {"evaluation": "baselines"}),
    "evaluate-trial": ("evaluate", ["scored", "policy"], {"evaluation": "evaluations"}),
    "report": ("report", ["groups", *TRIALS, "trainings"], {"report": ""}),
    "promote": ("promote", ["groups", *TRIALS], {"registration": ""}),
}
"""The stage, what it takes, and what it leaves under which name for others; in an order that can run."""
MORE = {
    "reward": {"rewards": [{"name": "reward_model"}], "reward": {"epochs": 1, "groups_per_step": 8}},
    "sample": {"sample": {"completions": 5, "generation": {"max_new_tokens": 8}}},
}
"""Settings by which a run has a stage; `reward` learns from the rewards that the records came with."""


@pytest.mark.parametrize("name", STAGES)
def test_a_component_runs_in_a_pod_and_leaves_its_artifact(ready: Cluster, data: Data, name: str) -> None:
    stage, takes, leaves = STAGES[name]
    if missing := set(takes) - ready.addresses.keys():
        pytest.fail(f"no {sorted(missing)}: an earlier component failed, or was not asked to run")
    earlier = set(ready.records(RUN_DIR))
    ready.pipelines(*asked(ready, data, stage, takes), "--timeout", "30")
    (record,) = (
        record
        for task, record in ready.records(RUN_DIR).items()
        if record.stage == stage and task not in earlier
    )
    assert record.state == "succeeded"
    for output, kept in leaves.items():
        assert record.outputs[output]
        if kept:
            assert "://" in record.outputs[output]
            ready.addresses[kept] = record.outputs[output]


def asked(cluster: Cluster, data: Data, stage: str, takes: list[str]) -> list[str]:
    """The words that run one stage."""
    sets = MORE.get(stage, {})
    given = [word for name in takes for word in ("--from", f"{name}={cluster.addresses[name]}")]
    words = ["run", "align", "--on", "cluster", "--recipe", str(data.recipe), "--image", cluster.image]
    words += ["--run-dir", RUN_DIR, "--service-account", ACCOUNT, "--pipeline", "copg-cluster-test"]
    words += [word for name, value in sets.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return [*words, "--only", stage, *given]
