"""One description of a pod, two renderers: each says every setting of it, or refuses the recipe."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.lint import lint
from copg_pipelines.placement.config import (
    ImageConfig,
    SecretConfig,
    SecurityConfig,
    VolumeConfig,
    parse_placement,
)
from copg_pipelines.placement.pod import Pod, describe_pod, watching_task
from copg_pipelines.placement.pod_config import GpuConfig, RangeConfig, RetryConfig, TolerationConfig
from copg_pipelines.placement.task import place_task
from copg_pipelines.placement.train_job import describe_train_job
from kfp import compiler, dsl

from copg.errors import ConfigError

POD = Pod(
    image=ImageConfig(name="copg@sha256:0"),
    environment={"HF_HUB_OFFLINE": "1"},
    volumes=[VolumeConfig()],
    secrets=[SecretConfig()],
    security=SecurityConfig(),
    cpu=RangeConfig(request="1", limit="2"),
    memory=RangeConfig(request="2Gi", limit="8Gi"),
    gpu=GpuConfig(count=1),
    shm="1Gi",
    node_selector={"card": "h100"},
    tolerations=[TolerationConfig(key="spot", value="yes", effect="NoExecute")],
    timeout_hours=5.0,
    queue="copg",
    priority="low",
    nodes=1,
)
OTHERS = {
    "image.pull_policy": "Always",
    "cpu.request": "0.5",
    "cpu.limit": "3",
    "memory.request": "1Gi",
    "memory.limit": "9Gi",
    "tolerations.operator": "Exists",
    "tolerations.effect": "NoSchedule",
    "tolerations.seconds": 60,
}
"""Another value of a setting, where it is none of its first value and one more letter or digit."""


def others(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting within a configuration by its path, and the configuration with another value there."""
    if is_dataclass(value):
        for each in fields(value):
            for found, other in others(getattr(value, each.name), f"{path}.{each.name}".lstrip(".")):
                more = {"value": ""} if other == "Exists" else {}  # this operator takes no value
                yield found, replace(value, **{each.name: other}, **more)
    elif isinstance(value, list) and value and is_dataclass(value[0]):
        for found, other in others(value[0], path):
            yield found, [other, *value[1:]]
    elif path in OTHERS:
        yield path, OTHERS[path]
    elif isinstance(value, dict):
        yield path, {**value, "another": "x"}
    elif isinstance(value, list):
        yield path, [*value, "another"]
    elif isinstance(value, bool):
        yield path, not value
    else:
        yield path, value + ("x" if isinstance(value, str) else 1)


Render = Callable[[Pod, Path], str]
SETTINGS, ATTEMPTS = dict(others(POD)), dict(others(RetryConfig()))


@dsl.component(base_image="copg", install_kfp_package=False)
def nothing() -> None:
    pass


def as_task(pod: Pod, folder: Path, retry: RetryConfig = RetryConfig()) -> str:
    @dsl.pipeline(name="one")
    def one() -> None:
        place_task(nothing(), pod, retry)

    compiler.Compiler().compile(one, str(folder / "one.yaml"))
    return (folder / "one.yaml").read_text()


def as_train_job(pod: Pod, folder: Path) -> str:
    return str(describe_train_job(replace(pod, nodes=pod.nodes + 1)))


def test_no_setting_of_a_pod_is_left_out_here() -> None:
    assert {path.partition(".")[0] for path in SETTINGS} == {each.name for each in fields(Pod)}
    assert {"image.pull_policy", "volumes.sub_path", "tolerations.seconds", "gpu.type"} <= SETTINGS.keys()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[Render, str]:
    """The pod itself, by each renderer."""
    return {render: render(POD, tmp_path_factory.mktemp("pod")) for render in (as_task, as_train_job)}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("render", [as_task, as_train_job])
def test_a_setting_is_rendered_or_refused_by_name(
    render: Render, setting: str, rendered: dict[Render, str], tmp_path: Path
) -> None:
    try:
        found = render(SETTINGS[setting], tmp_path)
    except ConfigError as error:
        found = str(error)
        assert (f"{setting}=" in found, found.count("\n")) == (True, 0)
    assert found != rendered[render], f"{setting} is ignored"


@pytest.mark.parametrize("setting", ATTEMPTS)
def test_how_often_a_task_is_tried_again_is_rendered_or_refused_by_name(
    setting: str, rendered: dict[Render, str], tmp_path: Path
) -> None:
    try:
        found = as_task(POD, tmp_path, ATTEMPTS[setting])
    except ConfigError as error:
        found = str(error)
    assert found != rendered[as_task]
    assert setting != "policy" or found.startswith("retry.policy=")  # kfp 2.17 cannot say it


def test_a_mount_of_a_train_job_says_no_empty_sub_path() -> None:
    # who writes the job again drops the empty field, and the change is refused: a job in a queue never starts
    pods = [POD, replace(POD, volumes=[VolumeConfig(sub_path="mine")])]
    found = []
    for pod in pods:
        (patch,) = describe_train_job(replace(pod, nodes=2))["spec"]["runtimePatches"]
        (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
        found.append([mount.get("subPath") for mount in container["volumeMounts"]])
        assert "" not in [value for mount in container["volumeMounts"] for value in mount.values()]
    assert found == [[None, None], ["mine", None]]  # the volume, and /dev/shm


def test_a_count_of_0_is_one_attempt(tmp_path: Path) -> None:
    as_task(POD, tmp_path, RetryConfig(count=0))
    pipeline, _ = yaml.safe_load_all((tmp_path / "one.yaml").read_text())
    assert pipeline["root"]["dag"]["tasks"]["nothing"]["retryPolicy"] == {
        "maxRetryCount": 1,  # of 0, or of no policy, the controller makes three attempts
        "backoffDuration": "0s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "1s",  # since the first attempt's start: over before a pod can have failed
    }
    assert not [line for line in lint(tmp_path / "one.yaml") if "tried again" in line]


def test_a_task_that_watches_other_pods_has_the_retries_and_the_time_of_its_stage() -> None:
    stage = {"nodes": 2, "retry": {"count": 9}, "timeout_hours": 24, "queue": "copg", "shm": "1Gi"}
    config = parse_placement({"defaults": {"node_selector": {"pool": "cpu"}}, "stages": {"train": stage}})
    watching = watching_task(config, "train")
    assert (watching.retry.count, watching.timeout_hours) == (9, 24)
    pod = describe_pod(config, watching, "copg@sha256:0")
    assert (pod.nodes, pod.queue, pod.shm, pod.node_selector) == (1, "", "", {"pool": "cpu"})


def test_a_pull_policy_is_refused_where_several_nodes_train() -> None:
    # no field of a TrainJob says when its image is pulled
    pod = replace(POD, image=ImageConfig(name="copg@sha256:0", pull_policy="Always"), nodes=2)
    with pytest.raises(ConfigError) as caught:
        describe_train_job(pod)
    assert "placement.image.pull_policy='Always': a TrainJob, which nodes=2 takes, cannot say it" in str(
        caught.value
    )
