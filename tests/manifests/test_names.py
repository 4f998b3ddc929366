"""What the placement of a recipe names is what the manifests make."""

from pathlib import Path

import jsonschema
import pytest
from copg_pipelines.placement.config import PlacementConfig, SecurityConfig, VolumeConfig, parse_placement
from copg_pipelines.placement.placement import Placement
from copg_pipelines.placement.pod import PART_OF
from copg_pipelines.placement.train_job import RUNTIME

from copg.run.recipe import load_recipe
from tests.manifests import rules
from tests.manifests.built import ROOT, build, check_schema, named

RECIPES = sorted((ROOT / "pipelines/recipes").glob("*.yaml"))


def test_tasks_carry_the_label_that_the_network_policies_select() -> None:
    assert PART_OF == rules.PART_OF


def test_the_volume_and_its_group_are_the_same() -> None:
    assert named(build("base"), "PersistentVolumeClaim", VolumeConfig().claim)
    (pod,) = build("volume")
    security = pod["spec"]["securityContext"]
    # a fresh volume is given to the group as which the tasks run
    assert security["fsGroup"] == SecurityConfig().group == 65532
    assert security["runAsUser"] == SecurityConfig().user == 65532
    (mount,) = (m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "runs")
    assert mount["mountPath"] == VolumeConfig().path


def test_the_pods_of_a_training_over_nodes_are_patched_where_the_runtime_has_them() -> None:
    runtime = named(build("overlays/gpu"), "TrainingRuntime", RUNTIME)
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    config = parse_placement({"stages": {"train": {"nodes": 2, "gpu": {"count": 8}, "shm": "1Gi"}}})
    train_job = Placement(config, "copg:0.1.0").train_job()
    (patch,) = train_job["spec"]["runtimePatches"]
    (patched,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert patched["name"] == job["name"]
    pod = job["template"]["spec"]["template"]["spec"]
    patched_pod = patched["template"]["spec"]["template"]["spec"]
    assert [c["name"] for c in patched_pod["containers"]] == [c["name"] for c in pod["containers"]]
    # neither name nor path of a volume may be there twice
    assert not {v["name"] for v in pod["volumes"]} & {v["name"] for v in patched_pod["volumes"]}
    security = patched_pod["securityContext"]
    assert security.items() <= pod["securityContext"].items()


def test_a_training_over_nodes_is_a_train_job_as_kubeflow_trainer_knows_it() -> None:
    stage = {"nodes": 2, "gpu": {"count": 8}, "shm": "1Gi", "queue": "copg", "timeout_hours": 20}
    config = parse_placement({"stages": {"train": stage}, "environment": {"HF_HUB_OFFLINE": "1"}})
    train_job = Placement(config, "copg:0.1.0").train_job()
    train_job["metadata"]["name"] = "copg-train"
    check_schema(train_job)
    train_job["spec"]["trainer"]["numNode"] = 3
    with pytest.raises(jsonschema.ValidationError, match="numNode"):
        check_schema(train_job)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_waits_in_a_queue_that_exists(recipe: Path) -> None:
    config: PlacementConfig = parse_placement(load_recipe(recipe).placement)
    resources = [*build("overlays/gpu"), *build("cluster/gpu")]
    for task in (config.defaults, *config.stages.values()):
        if task.queue:
            assert named(resources, "LocalQueue", task.queue)
        if task.priority:
            assert named(resources, "WorkloadPriorityClass", task.priority)
    for volume in config.volumes:
        assert named(resources, "PersistentVolumeClaim", volume.claim)
