"""``create`` and ``versions`` against a server: one version for one DAG, whoever else is at it."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.server import versions
from copg_pipelines.server.versions import Dag, source_revision

import copg
from copg.run.recipe import load_recipe
from tests.pipelines.command import IMAGE, RECIPE, Command, Outcome
from tests.pipelines.kfp_server import KfpServer


def test_a_version_is_named_after_package_source_and_dag(command: Command, server: KfpServer) -> None:
    name = command.create()
    compile_dag(
        "align", load_recipe(command.recipe), command.folder / "a.yaml", run_dir="/runs/demo", image=IMAGE
    )
    digest = hashlib.sha256((command.folder / "a.yaml").read_bytes()).hexdigest()[:12]
    assert name == f"{copg.__version__}-abc123-{digest}"
    (version,) = server.versions.values()
    assert (version.display_name, version.tags) == (name, {"recipe": "demo"})
    assert version.description == f"recipe demo, copg {copg.__version__}, source abc123"
    # the first version has a name of its own, not the pipeline's: the pipeline was made empty
    (pipeline,) = server.pipelines.values()
    assert (pipeline.name, version.pipeline_id) == ("align", pipeline.pipeline_id)
    assert server.count("POST", "/pipelines/upload") == 1


def test_the_same_dag_again_makes_no_second_version(command: Command, server: KfpServer) -> None:
    name = command.create()
    again = command.with_recipe("create", "align")
    assert again.out.startswith(f"there already: {name}")
    # nor does another revision of the source that compiles to the same DAG
    other = command("create", "align", "-r", str(command.recipe), "--image", IMAGE, "--revision", "def456")
    assert other.out.startswith(f"there already: {name}")
    assert (len(server.pipelines), len(server.versions)) == (1, 1)


def test_another_dag_makes_another_version_of_the_same_pipeline(command: Command, server: KfpServer) -> None:
    names = {command.create(), command.create("train.epochs=2"), command.create("train.epochs=3")}
    assert len(names) == 3
    assert (len(server.pipelines), len(server.versions)) == (1, 3)
    listed = command("versions", "align").out.splitlines()
    assert [line.split()[0] for line in listed] == [
        v.display_name for v in reversed(server.versions.values())
    ]
    assert all("demo" in line for line in listed)


def test_who_loses_a_race_finds_the_winner_s_version(command: Command, server: KfpServer) -> None:
    name = command.create()
    (won,) = server.versions.items()
    server.versions.clear()

    def win(asked: str) -> None:
        if "upload_version" in asked:
            server.versions[won[0]] = won[1]
        else:
            server.before = win

    server.before = win
    lost = command.with_recipe("create", "align")
    assert (lost.code, lost.out.split()[:3]) == (0, ["there", "already:", name])
    assert len(server.versions) == 1


def test_who_loses_the_race_for_the_pipeline_goes_on_with_it(command: Command, server: KfpServer) -> None:
    command.create()
    (won,) = server.pipelines.items()
    server.pipelines.clear()
    server.versions.clear()

    def win(asked: str) -> None:
        if asked == "POST /apis/v2beta1/pipelines":
            server.pipelines[won[0]] = won[1]
        else:
            server.before = win

    server.before = win
    command.create()
    assert (list(server.pipelines), len(server.versions)) == ([won[0]], 1)


def test_an_upload_whose_answer_got_lost_is_found_on_the_server(command: Command, server: KfpServer) -> None:
    server.broken = [("upload_version", 502, True)]
    command.create()
    assert len(server.versions) == 1
    assert server.count("POST", "upload_version") == 2  # the second was answered 409


def test_another_dag_under_the_same_name_is_refused(command: Command, server: KfpServer) -> None:
    command.create()
    (version,) = server.versions.values()
    documents = version.pipeline_spec
    documents.get("pipeline_spec", documents)["pipelineInfo"]["description"] = "Something else."
    refused = command.with_recipe("create", "align")
    assert refused.code == 1
    assert re.search(r"version \S+ holds another DAG than", refused.why)


def test_an_image_without_digest_is_warned_of(command: Command) -> None:
    made = command("create", "align", "-r", str(command.recipe), "--image", "copg:1", "--revision", "abc123")
    assert made.code == 0
    assert made.error.startswith("warning: image copg:1 of ")


def test_versions_of_a_pipeline_that_is_not_there(command: Command) -> None:
    assert command("versions", "align").why.endswith(": create it first")


def test_pipelines_of_other_names_and_namespaces_are_kept_apart(command: Command, server: KfpServer) -> None:
    server.multi_user = True
    assert command.with_recipe("create", "align").why.endswith("name yours with --namespace")
    made = command.with_recipe("create", "align", "--namespace", "team-a", "--pipeline", "mine")
    assert made.code == 0, made.error
    (pipeline,) = server.pipelines.values()
    assert (pipeline.name, pipeline.namespace) == ("mine", "team-a")


def test_the_revision_tells_a_changed_source(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *words], check=True, capture_output=True)

    assert source_revision(tmp_path) == "unknown"
    for package in versions.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    git("init", "-q")
    assert source_revision(tmp_path) == "unknown"  # a repository, but not of this source
    git("add", ".")
    git("commit", "-q", "-m", "first")
    clean = source_revision(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{12}", clean)
    (tmp_path / "copg/new.py").touch()
    assert source_revision(tmp_path) == f"{clean}+dirty"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": {}}, {"a": 1.0}, True),
        ({"a": [], "b": False, "c": "x"}, {"c": "x"}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": True}, {"a": 1}, False),
    ],
)
def test_what_a_server_leaves_out_does_not_count(left: object, right: object, same: bool) -> None:
    found = versions._meaning(left), versions._meaning(right)
    assert (repr(found[0]) == repr(found[1])) is same


def test_a_name_fits_servers_that_keep_versions_as_kubernetes_resources(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")
    dag = Dag(tmp_path / "a.yaml", "demo", "3d1a9b1c0f2e+dirty")
    assert re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", versions.resource_name(dag.version))


def test_gate_prompts_too_few_to_promote_anybody_are_refused_before_anything_is_uploaded(
    command: Command, server: KfpServer
) -> None:
    (command.folder / "data").mkdir()
    lines = (f'{{"prompt": "say {n}", "completions": ["a", "b"]}}\n' for n in range(20))
    (command.folder / "data/records.jsonl").write_text("".join(lines))
    recipe = yaml.safe_load(command.recipe.read_text())
    recipe |= {"records": "./data/records.jsonl", "placement": {"paths": {"./data": "/runs/data"}}}
    command.recipe.write_text(yaml.safe_dump(recipe))
    there = ("--set", "records=/runs/data/records.jsonl")  # where nobody here can look
    for words in (
        ("create", "align"),
        ("run", "align", "--on", "cluster"),
        ("schedule", "align", "--cron", "@daily"),
    ):
        for more, said in (
            (
                (),
                "of their prompts in gate nobody is promoted, 8 are needed: bring more prompts, raise",
            ),
            ((*there, "--set", "evaluate.num_prompts=7"), "evaluate.num_prompts=7 of 'gate' promotes nobody"),
        ):
            refused = command.with_recipe(*words, *more)
            assert (refused.code, said in refused.why) == (1, True), refused.error
    assert server.count("POST", "") == 0
    for allowed in (
        there,
        ("--set", "promote.error.refuse_hopeless=false"),
        ("--set", "validate.gate_fraction=0.5"),
    ):
        assert command.with_recipe("create", "align", *allowed).code == 0


@pytest.mark.parametrize(
    "words",
    [("create", "align"), ("run", "align", "--on", "cluster"), ("schedule", "align", "--cron", "@daily")],
)
def test_a_dag_too_heavy_to_be_followed_is_warned_of_and_one_that_would_die_refused_before_any_request(
    command: Command, server: KfpServer, words: tuple[str, ...]
) -> None:
    def with_trials(number: int) -> Outcome:
        trials = [{"method": "copg", "beta": 0.01 * (n + 1)} for n in range(number)]
        command.recipe.write_text(yaml.safe_dump(RECIPE | {"trials": trials}))
        return command.with_recipe(*words)

    server.forbidden = True  # what is told all the same was told before
    told = with_trials(25)
    assert re.search(
        r"^warning: weight: about \d,\d{3},\d{3} bytes .* of trials \(here 25\)", told.error, re.MULTILINE
    )
    assert "(403)" in told.why
    asked = len(server.asked)
    assert re.search(r"no server can run this DAG: weight: .* the run would die", with_trials(100).why)
    assert len(server.asked) == asked
