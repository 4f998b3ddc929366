"""A compiled DAG as resources for Git: made from the recipes, not kept, since they hold the user's image."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from copg_pipelines.dags.compiled import LintError
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.server.resources import write_resources
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from typer.testing import CliRunner

from copg.cli.main import app
from copg.run.recipe import load_recipe
from tests.manifests.built import ROOT, build, check_schema, title

IMAGE = f"registry.example.com/copg@sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dag") / "align.yaml"
    compile_dag(
        "align", load_recipe(ROOT / "pipelines/recipes/demo.yaml"), path, run_dir="/runs/demo", image=IMAGE
    )
    return path


@pytest.fixture(scope="module")
def made(compiled: Path) -> list[dict[str, Any]]:
    folder = compiled.parent / "deploy"
    write_resources(compiled, folder / "align.yaml", namespace="kubeflow", revision="0123abcd+dirty")
    (folder / "kustomization.yaml").write_text("resources: [align.yaml]\n")
    return build(folder)


def test_they_build_and_their_schemas_know_them(made: list[dict[str, Any]]) -> None:
    pipeline, version = made
    assert title(pipeline) == "Pipeline/align"
    assert version["spec"]["pipelineName"] == "align"
    for resource in made:
        assert resource["metadata"]["namespace"] == "kubeflow"
        check_schema(resource)
    version["spec"]["pipelineSpecs"] = {}
    with pytest.raises(jsonschema.ValidationError, match="pipelineSpecs"):
        check_schema(version)


def test_they_hold_the_compiled_dag_and_nothing_else(compiled: Path, made: list[dict[str, Any]]) -> None:
    spec, platform = yaml.safe_load_all(compiled.read_text())
    version = made[1]["spec"]
    kfp = PipelineSpec()
    assert json_format.ParseDict(version["pipelineSpec"], kfp) == json_format.ParseDict(spec, PipelineSpec())
    assert version["platformSpec"] == platform
    executors = version["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors
    for executor in executors.values():
        json_format.ParseDict(executor, KubernetesExecutorConfig())


def test_the_name_says_what_is_in_it_in_letters_that_kubernetes_takes(made: list[dict[str, Any]]) -> None:
    name, shown = made[1]["metadata"]["name"], made[1]["spec"]["displayName"]
    assert shown.startswith("0.1.0-0123abcd+dirty-")
    assert name == shown.replace("+", "-")


def test_the_command_prints_the_version(compiled: Path, tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "a/b.yaml"), "--pipeline", "mine", "-n", "team-a"]
    done = CliRunner().invoke(app, ["resources", str(compiled), *words])
    assert done.exit_code == 0
    pipeline, version = yaml.safe_load_all((tmp_path / "a/b.yaml").read_text())
    assert pipeline["metadata"] == {"name": "mine", "namespace": "team-a"}
    assert version["spec"]["displayName"] == done.stdout.strip()


def test_what_is_no_compiled_dag_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    for name in ("recipe.yaml", "missing.yaml"):
        with pytest.raises(LintError, match=rf"{name}: (is no compiled DAG|cannot be read)"):
            write_resources(tmp_path / name, tmp_path / "out.yaml", namespace="kubeflow")
