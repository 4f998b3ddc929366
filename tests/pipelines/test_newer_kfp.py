"""Newer releases of kfp compile what the pinned one does, where the index of packages has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from copg_pipelines.placement.pod_config import RetryConfig
from copg_pipelines.placement.task import _policy
from kfp.dsl.pipeline_task import PipelineTask

from copg.errors import ConfigError
from tests.pipelines.outline import GOLDEN

ROOT = Path(__file__).parents[2]
PACKAGES = ("kfp", "kfp-kubernetes", "kfp-pipeline-spec", "kfp-server-api")


@pytest.mark.nightly
@pytest.mark.parametrize("release", ["2.17.3", "2.18.0"])
def test_another_release_compiles_the_same_dag(tmp_path: Path, release: str) -> None:
    there = tmp_path / "packages"
    wanted = [f"{name}=={release}" for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(there), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the index has no kfp {release}: {done.stderr.strip().splitlines()[-1]}")
    program = (
        "import pathlib, sys, kfp; from tests.pipelines.outline import compile_recipe, outline\n"
        f"assert kfp.__version__ == {release!r}, kfp.__version__\n"
        f"print(outline(compile_recipe('demo', pathlib.Path({str(tmp_path)!r}))), end='')"
    )
    path = os.pathsep.join(map(str, (there, ROOT, ROOT / "components", ROOT / "pipelines")))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (GOLDEN / "demo.yaml").read_text()


class Newer:
    """A task of a kfp that knows policies."""

    def set_retry(self, num_retries: int, policy: str = "") -> None: ...


def test_a_policy_of_retries_is_said_where_kfp_can_say_it_and_else_refused() -> None:
    retry = RetryConfig(policy="Always")
    assert _policy(Newer(), retry) == {"policy": "Always"}
    assert _policy(Newer(), RetryConfig()) == {}
    with pytest.raises(ConfigError, match=r"retry\.policy='Always': kfp 2\.17\.\d cannot say it"):
        _policy(PipelineTask, retry)
