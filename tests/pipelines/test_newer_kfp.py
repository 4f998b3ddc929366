"""Newer releases of kfp compile what the pinned one does, where the index of packages has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from copg_pipelines.placement.pod_config import RetryConfig
from copg_pipelines.placement.task import _policy, _try
from kfp.dsl.pipeline_task import PipelineTask

from copg.errors import ConfigError
from tests.pipelines.outline import GOLDEN

ROOT = Path(__file__).parents[2]
PACKAGES = ("kfp", "kfp-kubernetes", "kfp-pipeline-spec", "kfp-server-api")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("release", "within"), [("2.17.3", "==2.17.3"), ("2.18", ">=2.18.0rc0,<2.19")], ids=["2.17.3", "2.18"]
)
def test_another_release_compiles_the_same_dag(tmp_path: Path, release: str, within: str) -> None:
    there = tmp_path / "packages"
    wanted = [f"{name}{within}" for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(there), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the index has no kfp {release}: {done.stderr.strip().splitlines()[-1]}")
    program = (
        "import pathlib, sys, kfp; from tests.pipelines.outline import compile_recipe, outline\n"
        f"assert kfp.__version__.startswith({release!r}), kfp.__version__\n"
        f"print(outline(compile_recipe('demo', pathlib.Path({str(tmp_path)!r}))), end='')"
    )
    path = os.pathsep.join(map(str, (there, ROOT, ROOT / "components", ROOT / "pipelines")))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (GOLDEN / "demo.yaml").read_text()


class WithPolicy:
    """A task as kubeflow/pipelines 13386 proposes it: no release that the index had in November 2026 has it.

    It shows what would be passed on, not that any server does as it says. Once a release has it, this class
    goes, and the test compiles with that release.
    """

    def set_retry(
        self,
        num_retries: int,
        backoff_duration: str | None = None,
        backoff_factor: float | None = None,
        backoff_max_duration: str | None = None,
        policy: str | None = None,
    ) -> "WithPolicy":
        self.said = (num_retries, backoff_duration, backoff_factor, backoff_max_duration, policy)
        return self


def test_the_pinned_release_refuses_a_policy_of_retries_and_names_what_does_the_same() -> None:
    with pytest.raises(ConfigError, match=r"retry\.policy='Always': kfp 2\.17\.\d cannot say it.*13386"):
        _policy(PipelineTask, RetryConfig(policy="Always"))
    assert _policy(PipelineTask, RetryConfig()) == {}


def test_a_task_that_takes_a_policy_of_retries_is_given_it() -> None:
    task = WithPolicy()
    _try(task, RetryConfig(count=3, policy="Always"))
    assert task.said == (3, "20s", 2, "1209600s", "Always")  # 14 days
    _try(task, RetryConfig(count=3))
    assert task.said[-1] is None
