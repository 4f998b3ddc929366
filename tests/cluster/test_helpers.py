"""What the tests of a cluster read and ask for, without one."""

from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest

from tests.cluster.cluster import ACCOUNT, Cluster, collect, function_of
from tests.cluster.conftest import Data
from tests.cluster.test_align import pods_of, run, scheduled, version_of
from tests.cluster.test_components import STAGES, asked
from tests.pipelines.kfp_server import kfp_server


def test_a_pod_says_which_component_it_runs() -> None:
    launcher = ["--executor_type", "container", "--run_id", "1"]
    words = [*launcher, "--executor_input", "{}", "--", "python3", "-m", "copg_components", "train", "{}"]
    wait = {"name": "wait", "args": ["-m", "copg_components", "evaluate"]}
    for main in ({"command": words}, {"command": ["launcher"], "args": words}):
        assert function_of({"spec": {"containers": [wait, {"name": "main", **main}]}}) == "train"
    assert function_of({"spec": {"containers": [wait]}}) == ""
    assert function_of({"spec": {"containers": [{"name": "main", "args": words[:-2]}]}}) == ""


def test_the_pods_of_a_run_and_the_runs_of_a_schedule_are_told_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pods: list[dict[str, Any]] = [
        {"spec": {"containers": [{"name": "main", "args": ["--run_id", run_id]}]}} for run_id in ("r1", "r2")
    ]
    monkeypatch.setattr(Cluster, "pods", lambda self, selector: pods)
    with kfp_server() as server:
        for number, schedule in enumerate(("mine", "another's", None)):
            server.runs[str(number)] = api.V2beta1Run(
                run_id=str(number), recurring_run_id=schedule, state="SUCCEEDED", created_at=server.now()
            )
        cluster = Cluster("none", "kubeflow", "image", host=server.url)
        assert pods_of(cluster, "r2") == [pods[1]]
        assert [each.run_id for each in scheduled(cluster, "mine")] == ["0"]


@pytest.mark.nightly
def test_the_client_knows_every_option_that_is_given(data: Data) -> None:
    nowhere = Cluster("none", "kubeflow", "localhost/copg:0.1.0", host="http://127.0.0.1:9")
    for _, takes, _ in STAGES.values():
        nowhere.addresses |= {name: f"minio://mlpipeline/{name}" for name in takes}
    schedule = ["schedule", "align", "--cron", "*/2 * * * *", "--service-account", ACCOUNT]
    for ask in (
        lambda *more: run(nowhere, data, "whole", "--timeout", "1", *more),
        *(
            lambda *more, stage=stage, takes=takes: nowhere.pipelines(
                *asked(nowhere, data, stage, takes), *more
            )
            for stage, takes, _ in (STAGES[name] for name in ("reward", "train", "report"))
        ),
        lambda *more: nowhere.pipelines(*schedule, *version_of(nowhere, data, "whole"), *more),
    ):
        # with a server that is not there, what is wrong is the server alone
        with pytest.raises(AssertionError, match=r"127\.0\.0\.1:9"):
            ask("--patience", "0")


def test_what_a_failure_leaves_is_written_even_without_a_cluster(tmp_path: Path) -> None:
    collect(Cluster("no-such-context", "kubeflow", "image"), tmp_path / "failures")
    assert "no-such-context" in (tmp_path / "failures/events.txt").read_text()
