"""The whole DAG: uploaded, run, its train pod deleted, scheduled; its results are those of this machine."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kfp
import pytest
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.dags.weight import weigh
from copg_pipelines.doctor.pods import OF_WORKFLOW
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import Connection
from copg_pipelines.server.runs import list_runs

from tests.cluster.cluster import ACCOUNT, ROOT, Cluster, function_of, wait_until
from tests.cluster.conftest import ON_VOLUME, Data

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(5400)]

PIPELINE = "copg-cluster-test"
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WITHIN = {"reward": 0.002, "kl": 0.02}
"""Of a local result: another processor rounds otherwise, and a completion in a hundred may be another."""


def model_of(name: str) -> str:
    """The registered model of a test: MLflow still knows the champions of earlier sessions."""
    return f"{ON_VOLUME.rpartition('/')[2]}-{name}"


def version_of(cluster: Cluster, data: Data, name: str) -> list[str]:
    """The options that name the DAG of a run directory, and of a registered model, of this session alone."""
    words = ["--recipe", str(data.recipe), "--image", cluster.image, "--run-dir", f"{ON_VOLUME}-{name}"]
    return [*words, "--pipeline", PIPELINE, "--set", f"name={model_of(name)}"]


def run(cluster: Cluster, data: Data, name: str, *words: str) -> str:
    """Start the DAG; what the client says."""
    options = ["--on", "cluster", "--service-account", ACCOUNT, *version_of(cluster, data, name)]
    return cluster.pipelines("run", "align", *options, *words)


def compiled(cluster: Cluster, data: Data, name: str, dag: Path) -> Path:
    """The DAG of a run directory of its own as a file."""
    options = [word for word in version_of(cluster, data, name) if word not in ("--pipeline", PIPELINE)]
    command = [sys.executable, "-m", "copg.cli", "compile", "align", "--output", str(dag), *options]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return dag


@pytest.fixture(scope="module")
def local(data: Data) -> dict[str, Any]:
    """The summary of the same recipe on this machine."""
    words = [
        "run",
        "align",
        "--recipe",
        str(data.recipe),
        "--on",
        "local",
        "--run-dir",
        str(data.home / "local"),
    ]
    subprocess.run([sys.executable, "-m", "copg.cli", *words], cwd=ROOT, check=True, timeout=1800)
    found: dict[str, Any] = json.loads((data.home / "local/summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def whole_id(ready: Cluster, data: Data) -> str:
    """The id of an undisturbed run on the cluster, which ended well."""
    found = RUN_ID.search(run(ready, data, "whole", "--timeout", "45"))
    assert found
    return found[0]


@pytest.fixture(scope="module")
def whole(ready: Cluster, whole_id: str) -> dict[str, Any]:
    """The summary of that run."""
    found: dict[str, Any] = ready.read(f"{ON_VOLUME}-whole/summary.json")
    return found


def test_the_same_dag_twice_is_one_version(ready: Cluster, data: Data) -> None:
    options = version_of(ready, data, "whole")
    first, again = (ready.pipelines("create", "align", *options) for _ in range(2))
    assert again.startswith("there already: ")
    assert again.split()[-1] == first.split()[-1]
    assert first.split(": ")[1].split()[0] in ready.pipelines("versions", "align", "--pipeline", PIPELINE)


def test_every_task_ran_in_a_pod_of_its_own(ready: Cluster, whole_id: str, whole: dict[str, Any]) -> None:
    stages = {"resolve", "validate", "score", "reference", "evaluate-reference", "train-copg_0.1"}
    stages |= {"evaluate-copg_0.1", "report", "promote"}
    assert (whole["state"], whole["failure"], set(whole["executed"])) == ("succeeded", None, stages)
    ended = [pod for pod in pods_of(ready, whole_id) if pod["status"]["phase"] == "Succeeded"]
    # a pod a task, and one for the exit handler; evaluate ran for the reference and for the trial
    functions = [*(stage.partition("-")[0] for stage in stages), "summary"]
    assert sorted(map(function_of, ended)) == sorted(functions)


def test_its_workflow_weighs_what_was_told_before(
    ready: Cluster, data: Data, whole_id: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    pods = pods_of(ready, whole_id)
    (name,) = {pod["metadata"]["labels"][OF_WORKFLOW] for pod in pods}
    workflow = json.loads(ready.kubectl("get", "workflows.argoproj.io", name, "-o", "json"))
    assert workflow["status"]["nodes"], "packed away"
    workflow["metadata"].pop("managedFields", None)
    found = len(json.dumps(workflow, separators=(",", ":"), ensure_ascii=False).encode())
    told = weigh(*read_compiled(compiled(ready, data, "whole", tmp_path / "align.yaml")))
    print(f"{len(workflow['status']['nodes'])} nodes, {found:,} bytes; {told.num_bytes:,} were told")
    assert len(workflow["status"]["nodes"]) == told.nodes
    assert told.num_bytes == pytest.approx(found, rel=0.06)


def test_the_results_are_those_of_this_machine(whole: dict[str, Any], local: dict[str, Any]) -> None:
    for name in ("data", "model"):
        assert whole["digests"][name] == local["digests"][name]
    pairs = [(whole["reference"], local["reference"]), *zip(whole["trials"], local["trials"], strict=True)]
    for there, here in pairs:
        for quantity, tolerance in WITHIN.items():
            assert there[quantity] == pytest.approx(here[quantity], abs=tolerance), (there, here)
    assert whole["promoted"] == local["promoted"]


def test_a_training_whose_pod_is_deleted_ends_as_if_nothing_had_been(
    ready: Cluster, data: Data, whole: dict[str, Any]
) -> None:
    run_dir = f"{ON_VOLUME}-killed"
    run_id = RUN_ID.search(run(ready, data, "killed", "--no-wait"))
    assert run_id
    wait_until(
        "a checkpoint to go on from",
        lambda: ready.sh(f"find {run_dir}/checkpoints -name '*.safetensors' 2>/dev/null | head -1").strip(),
        minutes=30,
    )
    (pod,) = (pod for pod in trainers(ready, run_id[0]) if pod["status"]["phase"] == "Running")
    assert "train-copg_0.1" not in {r.task for r in ready.records(run_dir).values() if r.state == "succeeded"}
    ready.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    ready.pipelines("status", "align", run_id[0], "--follow", "--timeout", "45")
    killed = ready.read(f"{run_dir}/summary.json")
    assert killed["state"] == "succeeded"
    # another pod, which has the same name where the controller had not yet seen the first one run
    pods = {each["metadata"]["uid"] for each in trainers(ready, run_id[0])}
    assert pods - {pod["metadata"]["uid"]}, "no second pod trained"
    for there, undisturbed in zip(killed["trials"], whole["trials"], strict=True):
        for quantity in WITHIN:
            assert there[quantity] == pytest.approx(undisturbed[quantity], abs=1e-6)


def test_without_the_cache_of_kfp_the_tasks_find_what_they_left_and_copy_it(
    ready: Cluster, data: Data, whole: dict[str, Any], tmp_path: Path, artifacts: Any
) -> None:
    dag = compiled(ready, data, "whole", tmp_path / "align.yaml")
    # the client's own switch reaches the outermost tasks alone
    dag.write_text(dag.read_text().replace("enableCache: true", "enableCache: false"))
    client = kfp.Client(host=ready.host, namespace=ready.namespace)
    started = client.create_run_from_pipeline_package(
        str(dag), service_account=ACCOUNT, namespace=ready.namespace
    )
    assert client.wait_for_run_completion(started.run_id, timeout=3600).state == "SUCCEEDED"
    again = ready.read(f"{ON_VOLUME}-whole/summary.json")
    assert again["executed"] == ["resolve"]
    assert again["trials"] == whole["trials"]
    copied = artifacts.find(f"mlpipeline/v2/artifacts/align/{started.run_id}")
    stages = {path.split("/")[5] for path in copied if path.endswith("/manifest.json")}
    assert stages >= {"validate", "score", "reference", "train", "evaluate", "report"}


def test_an_image_whose_docstrings_are_reworded_computes_nothing_again(
    ready: Cluster, data: Data, whole: dict[str, Any], pytestconfig: pytest.Config
) -> None:
    """KFP's cache key holds the image: every task starts, and finds what it left under its own key."""
    image = pytestconfig.getoption("--reworded-image")
    if not image:
        pytest.skip("no image is named whose docstrings are reworded: --reworded-image")
    run(replace(ready, image=image), data, "whole", "--timeout", "45")
    again = ready.read(f"{ON_VOLUME}-whole/summary.json")
    assert again["executed"] == ["resolve"]
    assert (again["trials"], again["digests"]) == (whole["trials"], whole["digests"])


def trainers(cluster: Cluster, run_id: str) -> list[dict[str, Any]]:
    """The pods in which a run trains."""
    return [pod for pod in pods_of(cluster, run_id) if function_of(pod) == "train"]


def pods_of(cluster: Cluster, run_id: str) -> list[dict[str, Any]]:
    """The pods of a run's tasks: its id stands among the arguments of KFP's launcher."""
    pods = cluster.pods("app.kubernetes.io/part-of=copg")
    return [pod for pod in pods if run_id in json.dumps(pod["spec"])]


def test_a_schedule_starts_runs_of_the_pinned_version(
    ready: Cluster, data: Data, whole: dict[str, Any]
) -> None:
    # every other minute; the cache answers for all but resolve
    options = ["--cron", "*/2 * * * *", "--service-account", ACCOUNT, *version_of(ready, data, "whole")]
    said = ready.pipelines("schedule", "align", *options)
    version, schedule = re.search(r"version: (\S+)", said), RUN_ID.search(said)
    assert version
    assert schedule
    try:
        listed = ready.pipelines("versions", "align", "--pipeline", PIPELINE)
        (line,) = (line for line in listed.splitlines() if line.startswith(version[1]))
        assert "schedule" in line
        found = wait_until(
            "a scheduled run that ended", lambda: scheduled(ready, schedule[0]), minutes=15, every_s=10
        )
        assert {each.state for each in found} == {"SUCCEEDED"}
    finally:
        ready.pipelines("unschedule", "align", "--all", "--pipeline", PIPELINE)
    summary = ready.read(f"{ON_VOLUME}-whole/summary.json")
    assert summary["executed"] == ["resolve"]
    assert summary["trials"] == whole["trials"]


def scheduled(cluster: Cluster, schedule: str) -> list[Any]:
    """The runs that this schedule started and that ended."""
    namespace = "" if cluster.namespace == "kubeflow" else cluster.namespace
    client = Client(Connection(host=cluster.host, namespace=namespace))
    mine = (each for each in list_runs(client) if each.recurring_run_id == schedule)
    return [each for each in mine if each.state in ("SUCCEEDED", "FAILED")]
