"""What the tests of a cluster read and ask for, without one."""

from pathlib import Path

import pytest

from tests.cluster.cluster import ACCOUNT, Cluster, collect, function_of
from tests.cluster.conftest import Data
from tests.cluster.test_align import run, version_of
from tests.cluster.test_components import single


def test_a_pod_says_which_component_it_runs() -> None:
    launcher = ["--executor_type", "container", "--run_id", "1", "--", "sh", "-c", "python3 -m kfp"]
    words = [*launcher, "--executor_input", "{}", "--function_to_execute", "train"]
    wait = {"name": "wait", "args": ["--function_to_execute", "evaluate"]}
    for main in ({"command": words}, {"command": ["launcher"], "args": words}):
        assert function_of({"spec": {"containers": [wait, {"name": "main", **main}]}}) == "train"
    assert function_of({"spec": {"containers": [wait]}}) == ""
    assert function_of({"spec": {"containers": [{"name": "main", "args": words[:-1]}]}}) == ""


def test_the_client_knows_every_option_that_is_given(data: Data) -> None:
    nowhere = Cluster("none", "kubeflow", "localhost/copg:0.1.0", host="http://127.0.0.1:9")
    nowhere.addresses = {"referenced": "minio://mlpipeline/referenced"}
    schedule = ["schedule", "align", "--cron", "*/2 * * * *", "--service-account", ACCOUNT]
    for ask in (
        lambda *more: run(nowhere, data, "whole", "--timeout", "1", *more),
        lambda *more: nowhere.pipelines(*single(nowhere, data, "train", ["referenced"]), *more),
        lambda *more: nowhere.pipelines(*schedule, *version_of(nowhere, data, "whole"), *more),
    ):
        # with a server that is not there, what is wrong is the server alone
        with pytest.raises(AssertionError, match=r"127\.0\.0\.1:9"):
            ask("--patience", "0")


def test_what_a_failure_leaves_is_written_even_without_a_cluster(tmp_path: Path) -> None:
    collect(Cluster("no-such-context", "kubeflow", "image"), tmp_path / "failures")
    assert "no-such-context" in (tmp_path / "failures/events.txt").read_text()
