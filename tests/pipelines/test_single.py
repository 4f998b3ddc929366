"""``run --only``: one stage on artifacts that exist, here and on a server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from copg_pipelines.dags.single import Single, choose_single
from copg_pipelines.local import RECIPE as KEPT

from copg.errors import ConfigError
from copg.run.recipe import parse_recipe
from tests import tiny
from tests.pipelines.command import IMAGE, RECIPE, Command
from tests.pipelines.kfp_server import KfpServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Path:
    """Records, a tiny model and a recipe with one trial."""
    home = tmp_path_factory.mktemp("single")
    shutil.copytree(reference_dir, home / "model")
    tiny.write_records(home / "records.jsonl", 32, 3)
    recipe = {
        "name": "tiny",
        "records": "records.jsonl",
        "model": "./model",
        "rewards": [{"name": "length", "params": {"target": 4}}],
        "trials": [{"method": "copg", "beta": 0.1}],
    }
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return home


def run(place: Path, *words: str, runs: str = "runs") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(place / "recipe.yaml")]
    command += ["--run-dir", str(place / runs), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def left(done: subprocess.CompletedProcess[str], name: str) -> str:
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith(f"{name}: ")).partition(": ")[2]


@pytest.mark.nightly
def test_a_stage_runs_alone_on_what_another_left_with_the_dag_s_parameters(place: Path) -> None:
    groups = left(run(place, "--only", "validate"), "groups")
    done = run(place, "--only", "score", "--from", groups)
    manifest = json.loads((Path(left(done, "scored")) / "manifest.json").read_text())
    parent = json.loads((Path(groups) / "manifest.json").read_text())
    assert (manifest["schema"], manifest["parents"]) == ("scored", {"groups": parent["digest"]})
    assert manifest["config"]["rewards"][0]["name"] == "length"
    assert "reward/mean" in done.stdout
    # the very key that the whole DAG gives the task: its record is where the DAG would look for it
    plans = json.loads((place / "runs/run.json").read_text())["plans"]
    assert (place / f"runs/stages/score-{plans['score']['key'][:12]}.json").is_file()
    wrong = run(place, "--only", "score", "--from", left(done, "scored"))
    assert wrong.returncode == 1
    assert wrong.stderr.rstrip().endswith("is scored; score takes ['groups']")


def test_a_stage_that_fails_is_told_in_one_line(place: Path) -> None:
    failed = run(place, "--only", "validate", "--set", "model=./none")  # seen when it is looked for
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: stage resolve: ")
    assert len(failed.stderr.splitlines()) == 1


def test_on_a_server_the_stage_stands_alone_behind_resolve(command: Command, server: KfpServer) -> None:
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED", "train": "SUCCEEDED"})]}
    words = ("--only", "train", "--from", "s3://bucket/referenced", "--poll", "0.01")
    limits = ("--set", "placement.run.timeout_hours=2")
    recipe = ("--recipe", str(command.recipe), "--image", IMAGE)
    done = command("run", "align", "--on", "cluster", *recipe, *words, *limits)
    assert done.code == 0, done.error
    (started,) = server.runs.values()
    assert started.display_name.startswith("demo-train ")
    spec = started.pipeline_spec.get("pipeline_spec", started.pipeline_spec)
    tasks = spec["root"]["dag"]["tasks"]
    assert sorted(tasks) == ["importer", "resolve", "train"]
    executors = spec["deploymentSpec"]["executors"]
    importer = executors[spec["components"]["comp-importer"]["executorLabel"]]["importer"]
    assert importer["artifactUri"]["constant"] == "s3://bucket/referenced"
    images = {each["container"]["image"] for each in executors.values() if "container" in each}
    assert images == {IMAGE}
    inputs = tasks["train"]["inputs"]
    assert inputs["parameters"]["plan"]["taskOutputParameter"]["outputParameterKey"] == "train"
    assert inputs["parameters"]["trial"]["runtimeValue"]["constant"] == RECIPE["trials"][0]
    assert inputs["artifacts"]["referenced"]["taskOutputArtifact"]["producerTask"] == "importer"
    assert server.versions == {}
    platform = started.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]
    assert platform["pipelineConfig"]["activeDeadlineSeconds"] == 7200


def test_what_may_go_wrong_with_a_stage_alone_is_told_as_of_a_whole_run(
    command: Command, server: KfpServer
) -> None:
    words = ("run", "align", "--on", "cluster", "--recipe", str(command.recipe), "--no-wait")
    only = ("--only", "score", "--from", "s3://bucket/groups")
    clean = command(*words, *only, "--image", IMAGE)
    assert (clean.code, clean.error) == (0, "")  # its cache is off, as it is meant to be
    for more, tasks in ((only, "tasks resolve, score"), ((), "tasks ")):
        told = command(*words, *more, "--image", "copg:1")
        (warning,) = (line for line in told.error.splitlines() if line.startswith("warning: "))
        assert warning.startswith(f"warning: image copg:1 of {tasks}")
        assert "has no digest" in warning
        assert told.code == 0


def test_on_a_server_a_stage_gets_artifacts_of_every_trial_by_address(
    command: Command, server: KfpServer
) -> None:
    server.scripts = {"": [("SUCCEEDED", {"resolve": "SUCCEEDED", "report": "SUCCEEDED"})]}
    given = ("groups=s3://b/g", "baselines=s3://b/r", "evaluations=s3://b/1", "evaluations=s3://b/2")
    words = [word for each in (*given, "trainings=s3://b/t") for word in ("--from", each)]
    recipe = ("--recipe", str(command.recipe), "--image", IMAGE, "--only", "report")
    done = command("run", "align", "--on", "cluster", *recipe, *words, "--poll", "0.01")
    assert done.code == 0, done.error
    (started,) = server.runs.values()
    spec = started.pipeline_spec.get("pipeline_spec", started.pipeline_spec)
    tasks = spec["root"]["dag"]["tasks"]
    assert sorted(tasks) == ["importer", "report", "resolve"]  # of the groups; a server collects no importers
    inputs = tasks["report"]["inputs"]
    assert inputs["parameters"]["addresses"]["runtimeValue"]["constant"] == {
        "baselines": ["s3://b/r"],
        "evaluations": ["s3://b/1", "s3://b/2"],
        "trainings": ["s3://b/t"],
    }
    assert list(inputs["artifacts"]) == ["groups"]
    assert inputs["artifacts"]["groups"]["taskOutputArtifact"]["producerTask"] == "importer"


@pytest.mark.parametrize(
    ("stage", "given", "trial", "says"),
    [
        (
            "summary",
            [],
            "",
            "only='summary': use one of ['validate', 'reward', 'sample', 'score', 'reference', 'train', "
            "'evaluate', 'report', 'promote']",
        ),
        ("report", ["groups=s3://b/g"], "", "report takes ['baselines', 'evaluations', 'trainings'], which"),
        (
            "promote",
            ["trainings=s3://b/t"],
            "",
            "is trainings; promote takes ['groups', 'baselines', 'evaluations']",
        ),
        ("score", ["group=s3://b/g"], "", "is group; score takes ['groups']"),
        ("reward", ["groups=s3://b/g"], "", "no entry of rewards stands for a model that the run trains"),
        ("score", [], "", "score takes ['groups'], which no --from gives"),
        ("score", ["s3://b/groups", "groups=s3://b/x"], "", "from: two artifacts are 'groups'"),
        ("score", ["policy=s3://b/p"], "", "is policy; score takes ['groups']"),
        ("score", ["bucket/groups"], "", "on a cluster an artifact has a URI"),
        ("evaluate", ["s3://b/x"], "", "has no name: say NAME=ADDRESS; evaluate takes ['scored', 'policy']"),
        ("validate", ["s3://b/x"], "", "validate takes no artifact"),
        (
            "train",
            ["s3://b/x"],
            "",
            "train runs once a trial: name one of ['copg_0.1', 'ipo_1'] with --trial",
        ),
        ("train", ["s3://b/x"], "dpo_1", "trial='dpo_1' is unknown; use one of ['copg_0.1', 'ipo_1']"),
        ("score", ["s3://b/x"], "ipo_1", "trial='ipo_1': score runs once for all trials"),
        ("evaluate", ["scored=s3://b/x"], "ipo_1", "trial='ipo_1': give its policy with --from"),
    ],
)
def test_a_choice_that_cannot_run_is_refused(stage: str, given: list[str], trial: str, says: str) -> None:
    trials = [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}]
    recipe = parse_recipe({**RECIPE, "trials": trials})
    with pytest.raises(ConfigError) as caught:
        choose_single(recipe, stage, given, trial, here=False)
    assert says in str(caught.value)


def test_evaluation_takes_the_reference_s_plan_where_no_policy_is_given() -> None:
    recipe = parse_recipe(RECIPE)
    alone = choose_single(recipe, "evaluate", ["scored=s3://b/s"], "", here=False)
    assert alone == Single("evaluate", {"scored": ["s3://b/s"]}, {"name": "reference"})
    assert alone.plan == "baseline"
    policy = choose_single(
        recipe, "evaluate", ["scored=s3://b/s", "policy=s3://b/p"], "copg_0.05", here=False
    )
    assert (policy.plan, policy.subject) == ("evaluate", RECIPE["trials"][0])


def test_what_is_no_artifact_on_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no finished artifact, manifest\.json is missing"):
        choose_single(parse_recipe(RECIPE), "score", [str(tmp_path)], "", here=True)


@pytest.mark.nightly
def test_a_run_here_is_resumed_with_the_recipe_it_had(place: Path) -> None:
    def tell(done: subprocess.CompletedProcess[str]) -> list[str]:
        assert (done.returncode, "error: stage score: " in done.stderr) == (1, True), done.stderr
        return list(json.loads((place / "resumed/summary.json").read_text())["executed"])

    # the records have no rewards that could be taken as given
    assert tell(run(place, "--set", "score.source=given", runs="resumed")) == ["resolve", "score", "validate"]
    kept = json.loads((place / "resumed" / KEPT).read_text())
    assert kept["stages"]["score"] == {"source": "given"}
    command = [sys.executable, "-m", "copg.cli", "resume", "--run-dir", str(place / "resumed")]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    # what succeeded was kept: only resolve and the failed task ran
    assert tell(again) == ["resolve", "score"]
