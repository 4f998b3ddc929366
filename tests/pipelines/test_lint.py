"""The lint of compiled DAGs: each trap planted once, and the real DAG."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.dags import lint as lint_module
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.dags.lint import LintError, lint
from copg_pipelines.server.resources import write_resources
from kfp import compiler, dsl

from copg.run.recipe import parse_recipe

IMAGE = "registry/copg@sha256:" + "0" * 64

REWARDS = [{"name": "length", "params": {"target": 20}}]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def step(text: str) -> str:
    """Do something.

    Args:
        text: What with.

    Returns:
        Output: What came of it.
    """
    return text


def compiled(folder: Path, build: Callable[..., Any], **options: Any) -> Path:
    path = folder / "dag.yaml"
    pipeline = dsl.pipeline(name="x", **{"description": "A DAG.", **options})(build)
    compiler.Compiler().compile(pipeline, str(path))
    return path


def test_the_real_dag_is_clean_with_a_digest_and_told_of_a_tag(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {
            "name": "demo",
            "records": "/runs/records.jsonl",
            "model": "owner/model",
            "rewards": REWARDS,
            "trials": [{"method": "copg", "beta": 0.05}, {"method": "copg", "beta": 0.1}],
        }
    )
    compile_dag("align", recipe, tmp_path / "a.yaml", run_dir="/runs/demo", image=IMAGE)
    assert lint(tmp_path / "a.yaml") == []
    compile_dag("align", recipe, tmp_path / "b.yaml", run_dir="/runs/demo", image="registry/copg:0.1.0")
    (found,) = lint(tmp_path / "b.yaml")
    stages = "summary, resolve, evaluate, train, promote, reference, report, score, validate"
    named, says = found.removeprefix("image registry/copg:0.1.0 of tasks ").split(": has no digest, ")
    assert sorted(named.split(", ")) == sorted(stages.split(", "))  # evaluate once, though it has two tasks
    assert says.endswith("name it as REPOSITORY@sha256:...")


def test_a_cache_that_is_off_is_found(tmp_path: Path) -> None:
    def build() -> None:
        step(text="a").set_caching_options(enable_caching=False)

    assert lint(compiled(tmp_path, build)) == [
        "task step: the cache is off, so that they run again though nothing changed"
    ]


def test_who_writes_resources_is_told_what_may_go_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build() -> None:
        step(text="a").set_caching_options(enable_caching=False)

    write_resources(compiled(tmp_path, build), tmp_path / "out.yaml", namespace="kubeflow", revision="abc")
    assert capsys.readouterr().err.startswith("warning: task step: the cache is off, ")
    assert (tmp_path / "out.yaml").is_file()


@pytest.mark.parametrize("longest", ["30s", "59m", None])
def test_a_retry_that_ends_within_the_hour_is_found(tmp_path: Path, longest: str | None) -> None:
    def build() -> None:
        options = {} if longest is None else {"backoff_max_duration": longest}
        step(text="a").set_retry(num_retries=3, backoff_duration="10s", **options)

    (found,) = lint(compiled(tmp_path, build))
    seconds = {"30s": "30", "59m": "3540", None: "3600"}[longest]
    assert found.startswith(f"task step: not tried again once {seconds} s have passed")


def test_a_retry_over_days_is_fine(tmp_path: Path) -> None:
    def build() -> None:
        step(text="a").set_retry(num_retries=3, backoff_duration="10s", backoff_max_duration="48h")

    assert lint(compiled(tmp_path, build)) == []


def test_resources_from_a_parameter_are_found_in_a_group_and_left_alone_outside(tmp_path: Path) -> None:
    def grouped(memory: str) -> None:
        with dsl.ParallelFor(["a", "b"], name="loop") as item:
            step(text=item).set_memory_limit(memory)

    def flat(memory: str) -> None:
        step(text="a").set_memory_limit(memory)

    in_group, outside = (
        [line for line in lint(compiled(tmp_path, build)) if "description" not in line]
        for build in (grouped, flat)
    )
    (found,) = in_group
    assert re.match(r"task step: a pipeline parameter sets resources inside a group", found)
    assert outside == []


def test_a_parameter_that_no_server_takes_is_found(tmp_path: Path) -> None:
    def as_default(text: str = "x" * 10_001) -> None:
        """Run.

        Args:
            text: Long.
        """
        step(text=text)

    def as_constant() -> None:
        step(text="é" * 5_001)  # two bytes each

    assert lint(compiled(tmp_path, as_default)) == [
        "parameter text: 10,001 bytes, and a server takes 10,000; put it into a file"
    ]
    assert lint(compiled(tmp_path, as_constant)) == [
        "task step: input text: 10,002 bytes, and a server takes 10,000; put it into a file"
    ]


def test_missing_descriptions_are_found(tmp_path: Path) -> None:
    def build(text: str) -> None:
        step(text=text)

    found = lint(compiled(tmp_path, build, description=None))
    assert found == [
        "pipeline x: has no description",
        "parameter text: has no description",
    ]


def test_a_file_that_is_no_dag_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    (tmp_path / "broken.yaml").write_text("{[")
    with pytest.raises(LintError, match="is no compiled DAG"):
        lint(tmp_path / "recipe.yaml")
    for name in ("broken.yaml", "gone.yaml"):
        with pytest.raises(LintError, match="cannot be read"):
            lint(tmp_path / name)


def test_a_planted_trap_is_seen_by_its_own_check_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> None:
        step(text="a").set_caching_options(enable_caching=False)

    path = compiled(tmp_path, build)
    assert len(lint(path)) == 1
    monkeypatch.setattr(lint_module, "_caches", lambda spec, tasks: ())
    assert lint(path) == []
