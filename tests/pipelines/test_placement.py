"""A recipe's placement, from its section to what every task of the compiled DAG asks of Kubernetes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.placement.config import parse_placement
from copg_pipelines.placement.paths import placed
from copg_pipelines.placement.placement import Placement
from copg_pipelines.placement.pod import describe_pod

from copg.errors import ConfigError
from copg.run.recipe import load_recipe, parse_recipe

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example/copg@sha256:" + "1" * 64
RECIPE: dict[str, Any] = {
    "name": "demo",
    "records": "../data/records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 20}}],
    "trials": [{"method": "copg", "beta": 0.05}],
}
PLACEMENT: dict[str, Any] = {
    "image": {"name": IMAGE, "pull_policy": "IfNotPresent", "pull_secrets": ["registry"]},
    "trials_at_once": 2,
    "paths": {"../data": "/runs/data"},
    "stores": {
        "references": "s3://bucket/references",
        "checkpoints": "/runs/checkpoints",
        "champions": "minio://mlpipeline/champions",
        "minio": {"endpoint": "http://store.example:9000"},
    },
    "environment": {"HF_HUB_OFFLINE": "1"},
    "run": {"timeout_hours": 240, "keep_days": 2},
    "defaults": {"memory": {"request": "1Gi", "limit": "4Gi"}, "node_selector": {"pool": "cpu"}},
    "stages": {
        "train": {
            "gpu": {"count": 8},
            "memory": {"limit": "64Gi"},
            "shm": "16Gi",
            "node_selector": {"card": "h100"},
            "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
            "retry": {"count": 9, "within_days": 30},
            "timeout_hours": 24,
            "queue": "copg",
            "priority": "low",
        }
    },
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    path = tmp_path_factory.mktemp("placed") / "align.yaml"
    compile_dag("align", parse_recipe({**RECIPE, "placement": PLACEMENT}), path, run_dir="/runs/demo")
    pipeline, platform = yaml.safe_load_all(path.read_text())
    return pipeline, platform["platforms"]["kubernetes"]


@pytest.fixture(scope="module")
def containers(documents: Any) -> dict[str, Any]:
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): each["container"] for name, each in executors.items()}


@pytest.fixture(scope="module")
def pods(documents: Any) -> dict[str, Any]:
    executors = documents[1]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): each for name, each in executors.items()}


def test_a_stage_gets_its_own_resources_laid_over_the_defaults(containers: dict[str, Any]) -> None:
    train, score = containers["train"]["resources"], containers["score"]["resources"]
    assert (train["resourceMemoryRequest"], train["resourceMemoryLimit"]) == ("1Gi", "64Gi")
    assert (score["resourceMemoryRequest"], score["resourceMemoryLimit"]) == ("1Gi", "4Gi")
    assert (score["resourceCpuRequest"], score["resourceCpuLimit"]) == ("1", "2")
    assert train["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert train["accelerator"]["resourceCount"] == "8"
    assert "accelerator" not in score


def test_every_task_has_limits_the_volume_the_secrets_and_no_root(
    containers: dict[str, Any], pods: dict[str, Any]
) -> None:
    assert set(containers) == set(pods)
    for name, pod in pods.items():
        resources = containers[name]["resources"]
        assert {"resourceCpuLimit", "resourceMemoryLimit"} <= resources.keys()
        assert containers[name]["image"] == IMAGE
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in containers[name]["env"]
        assert [(m["constant"], m["mountPath"]) for m in pod["pvcMount"]] == [("copg-runs", "/runs")]
        (secret,) = pod["secretAsVolume"]
        assert (secret["secretName"], secret["optional"]) == ("copg-secrets", True)
        assert secret["mountPath"] == "/secrets/copg-secrets"
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": "65532",
            "runAsGroup": "65532",
        }
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert pod["imagePullSecret"][0]["secretName"] == "registry"


def test_train_alone_waits_in_the_queue_on_spot_machines_with_shared_memory(pods: dict[str, Any]) -> None:
    train = pods["train"]
    labels = train["podMetadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "copg"
    assert labels["kueue.x-k8s.io/priority-class"] == "low"
    assert train["nodeSelector"]["labels"] == {"pool": "cpu", "card": "h100"}
    assert train["tolerations"] == [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}]
    assert train["emptyDirMounts"] == [
        {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "16Gi"}
    ]
    assert train["activeDeadlineSeconds"] == "86400"  # 24 * 3600
    assert pods["score"]["podMetadata"]["labels"] == {"app.kubernetes.io/part-of": "copg"}
    assert "emptyDirMounts" not in pods["score"]


def test_a_retry_outlives_the_day_that_an_attempt_may_take(documents: Any) -> None:
    tasks = {
        name: task
        for component in documents[0]["components"].values()
        for name, task in component.get("dag", {}).get("tasks", {}).items()
    }
    assert tasks["train"]["retryPolicy"] == {
        "maxRetryCount": 9,
        "backoffDuration": "20s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "2592000s",  # 30 * 86400
    }
    assert tasks["score"]["retryPolicy"]["backoffMaxDuration"] == "1209600s"  # 14 * 86400
    # a mistake in the recipe is told by the first attempt
    assert tasks["resolve"]["retryPolicy"]["backoffMaxDuration"] == "1s"


def test_resolve_is_tried_again_only_where_the_recipe_says_so_there() -> None:
    assert parse_placement({"defaults": {"retry": {"count": 9}}}).task("resolve").retry.count == 0
    assert parse_placement({"stages": {"resolve": {"retry": {"count": 2}}}}).task("resolve").retry.count == 2
    memory = parse_placement({"defaults": {"memory": {"limit": "3Gi"}}}).task("resolve").memory
    assert memory.limit == "3Gi"


def test_the_run_ends_and_goes_and_the_loop_is_bounded(documents: Any) -> None:
    assert documents[1]["pipelineConfig"] == {
        "activeDeadlineSeconds": 864000,
        # Argo merges its defaults field by field: one that is missing here would be KFP's hour
        "resourceTtlOnCompletion": 172800,
        "resourceTtlOnSuccess": 172800,
        "resourceTtlOnFailure": 172800,
    }
    text = yaml.safe_dump(documents[0])
    assert "parallelismLimit: 2" in text


def test_paths_and_stores_are_those_of_the_pods(documents: Any) -> None:
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters["records"]["defaultValue"] == "/runs/data/records.jsonl"
    assert parameters["model"]["defaultValue"] == "owner/model"
    settings = parameters["settings"]["defaultValue"]
    assert settings["reference"] == {"store": "s3://bucket/references"}
    assert settings["train"] == {"checkpoint": {"folder": "/runs/checkpoints"}}
    assert settings["promote"] == {"champions": "minio://mlpipeline/champions"}


def test_every_task_may_read_where_the_launcher_keeps_artifacts(documents: Any, containers: Any) -> None:
    variables = [
        {"secretKey": "accesskey", "envVar": "COPG_MINIO_ACCESS_KEY"},
        {"secretKey": "secretkey", "envVar": "COPG_MINIO_SECRET_KEY"},
    ]
    for pod in documents[1]["deploymentSpec"]["executors"].values():
        (given,) = [each for each in pod["secretAsEnv"] if each["secretName"] == "mlpipeline-minio-artifact"]
        assert (given["keyToEnv"], given["optional"]) == (variables, True)
    endpoint = {"name": "COPG_MINIO_ENDPOINT", "value": "http://store.example:9000"}
    assert all(endpoint in container["env"] for container in containers.values())


def test_a_store_without_a_secret_is_not_read() -> None:
    config = parse_placement({"stores": {"minio": {"secret": ""}}})
    pod = describe_pod(config, config.task("score"), IMAGE)
    assert [secret.name for secret in pod.secrets] == ["copg-secrets"]
    assert pod.environment == {}


@pytest.mark.parametrize(
    ("named", "stores", "tracking"),
    [
        ("", {}, "http://copg-mlflow:5000"),
        ("", {"tracking": "https://mlflow.example"}, "https://mlflow.example"),
        ("", {"tracking": ""}, ""),  # a file in the directory of the runs, for who wants it
        ("http://mine:5000", {"tracking": "https://mlflow.example"}, "http://mine:5000"),
    ],
)
def test_a_recipe_that_names_no_tracking_has_the_cluster_s(
    named: str, stores: dict[str, str], tracking: str
) -> None:
    recipe = parse_recipe({**RECIPE, "tracking": named, "placement": {"stores": stores}})
    config = parse_placement({"stores": stores, "paths": {"../data": "/runs/data"}})
    assert placed(recipe, config).tracking == tracking


@pytest.mark.parametrize(
    ("placement", "line"),
    [
        ({"gpus": 1}, "placement.gpus is unknown; use one of ['defaults', 'environment', 'image'"),
        ({"stages": {"train": {"gpu": {"cuont": 1}}}}, "placement.stages.train.gpu.cuont is unknown"),
        ({"stores": {"minio": {"endpoint": "store:9000"}}}, "stores.minio.endpoint='store:9000' must begin"),
        ({"stages": {"train": 5}}, "placement.stages.train=5: must be a mapping"),
        ({"stages": {"trian": {}}}, "placement.stages ['trian'] are unknown; use ['resolve', 'validate'"),
        ({"defaults": {"memory": {"limit": "8GB"}}}, "placement.defaults.memory='8GB' must be a whole"),
        ({"defaults": {"memory": {"limit": ""}}}, "memory.limit is missing"),
        ({"defaults": {"cpu": {"limit": "two"}}}, "placement.defaults.cpu='two' must be a number of cores"),
        ({"defaults": {"cpu": {"request": 4, "limit": 2}}}, "cpu.request=4 is over cpu.limit=2"),
        ({"defaults": {"shm": "8Gi"}}, "shm=8Gi does not fit in memory.limit=8Gi"),
        ({"defaults": {"gpu": {"count": 2}}}, "gpu.count=2 needs shm"),
        ({"defaults": {"gpu": {"count": 1, "type": "gpu"}}}, "gpu.type='gpu' must be a resource name"),
        ({"defaults": {"retry": {"within_days": 0.04}}}, "retry.within_days=0.04 must be >= 1"),
        ({"defaults": {"timeout_hours": 400}}, "it would never be tried again"),
        ({"defaults": {"retry": {"factor": 1.5}}}, "retry.factor=1.5 must be a whole number >= 1"),
        ({"defaults": {"retry": {"factor": 0}}}, "retry.factor=0 must be >= 1"),
        ({"run": {"keep_days": 30000}}, "placement.run.keep_days=30000.0 must be in [0, 20000]"),
        ({"defaults": {"priority": "high"}}, "KFP 2.17 cannot set a pod's priorityClassName"),
        ({"stages": {"score": {"nodes": 2}}}, "nodes > 1 is for stages.train alone"),
        ({"shards": 99}, "shards=99 must be in [1, 20]: a run holds"),
        ({"security": {"user": 0}}, "must not be root's"),
        ({"image": {"name": "copg 1"}}, "image.name='copg 1' must be one name, such as registry/copg"),
        ({"volumes": [{"claim": "Runs"}]}, "volumes.claim='Runs' must be lower-case"),
        ({"defaults": {"tolerations": [{"value": "x"}]}}, "toleration without a key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(placement: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_placement(placement)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("hours", "seconds"), [(0, 0), (1e-9, 1), (0.0001, 1), (0.0005, 2), (1.5, 5400)])
def test_a_limit_below_a_second_is_one_of_a_second_and_not_none(hours: float, seconds: int) -> None:
    # 0.0001 hours are 0.36 s, which would round to 0: no limit at all; 0.0005 are 1.8 s, and 1.5 are 5,400 s
    run = {"timeout_hours": hours, "keep_days": hours / 24}
    config = parse_placement({"defaults": {"timeout_hours": hours}, "run": run})
    assert describe_pod(config, config.task("score"), IMAGE).deadline_s == seconds
    limits = Placement(config, IMAGE).pipeline_config()
    assert (limits.active_deadline_seconds or 0, limits.ttl_seconds_after_success or 0) == (seconds, seconds)


def test_a_path_that_no_pod_can_follow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"records='\.\./data/records\.jsonl' is relative"):
        compile_dag("align", parse_recipe(RECIPE), tmp_path / "align.yaml", run_dir="/runs/demo")


def test_the_image_of_the_command_comes_before_that_of_the_recipe(tmp_path: Path) -> None:
    recipe = parse_recipe({**RECIPE, "placement": PLACEMENT})
    compile_dag("align", recipe, tmp_path / "align.yaml", run_dir="/runs/demo", image="other/copg@sha256:2")
    text = (tmp_path / "align.yaml").read_text()
    assert IMAGE not in text
    assert "other/copg@sha256:2" in text


def test_training_over_nodes_asks_for_the_same_machines_and_its_task_only_watches(tmp_path: Path) -> None:
    stages = {"train": {**PLACEMENT["stages"]["train"], "nodes": 2}}
    image = {"name": IMAGE, "pull_secrets": ["registry"]}
    config = parse_placement({**PLACEMENT, "image": image, "stages": stages})
    job = Placement(config, IMAGE).train_job()
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (2, 8, IMAGE)
    limits = trainer["resourcesPerNode"]["limits"]
    assert limits == {"cpu": "2", "memory": "64Gi", "nvidia.com/gpu": "8"}
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "copg"
    assert job["spec"]["activeDeadlineSeconds"] == 86400

    recipe = parse_recipe({**RECIPE, "placement": {**PLACEMENT, "image": image, "stages": stages}})
    compile_dag("align", recipe, tmp_path / "align.yaml", run_dir="/runs/demo")
    pipeline, platform = yaml.safe_load_all((tmp_path / "align.yaml").read_text())
    watcher = pipeline["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    assert "accelerator" not in watcher
    assert watcher["resourceMemoryLimit"] == "4Gi"
    assert (watcher["resourceCpuRequest"], watcher["resourceCpuLimit"]) == ("100m", "2")
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert "kueue.x-k8s.io/queue-name" not in pod["podMetadata"]["labels"]  # it would wait for itself

    recipe = parse_recipe({**RECIPE, "placement": {**PLACEMENT, "stages": stages}})
    with pytest.raises(ConfigError, match="pull_policy='IfNotPresent': a TrainJob"):
        compile_dag("align", recipe, tmp_path / "align.yaml", run_dir="/runs/demo")


def test_shards_are_placed_like_their_stage_which_waits_for_all_of_them(tmp_path: Path) -> None:
    placement = {"shards": 3, "paths": PLACEMENT["paths"], "stages": {"score": {"gpu": {"count": 1}}}}
    compile_dag(
        "align", parse_recipe({**RECIPE, "placement": placement}), tmp_path / "align.yaml", run_dir="/runs/d"
    )
    pipeline, _ = yaml.safe_load_all((tmp_path / "align.yaml").read_text())
    executors = pipeline["deploymentSpec"]["executors"]
    for name, count in (("score", "1"), ("score-shard", "1"), ("reference-shard", None)):
        resources = executors[f"exec-{name}"]["container"]["resources"]
        assert resources.get("accelerator", {}).get("resourceCount") == count
    tasks = pipeline["components"]["comp-stages"]["dag"]["tasks"]
    loops = [name for name, task in tasks.items() if "parameterIterator" in task]
    assert tasks[loops[0]]["parameterIterator"]["items"]["raw"] == "[0, 1, 2]"
    assert loops[0] in tasks["score"]["dependentTasks"]
    assert loops[1] in tasks["reference"]["dependentTasks"]
    assert len(loops) == 4  # with baselines and trials


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines/recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_placement_of_every_recipe_is_valid(path: Path) -> None:
    parse_placement(load_recipe(path).placement)
