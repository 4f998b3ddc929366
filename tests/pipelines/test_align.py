"""The whole DAG on this machine, where 0.1.0 ran before: real stages, a tiny model; again, edited, failed."""

import html
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.left_behind import COMPUTED, copy_left

ROOT = Path(__file__).parents[2]
TASKS = [
    "validate",
    "score",
    "reference",
    "evaluate-reference",
    "train-copg_0.1",
    "evaluate-copg_0.1",
    "train-ipo_1",
    "evaluate-ipo_1",
    "report",
    "promote",
]
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "mine.py:cats"}, {"name": "length", "weight": 0.5, "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {
        "groups_per_step": 8,
        "optimizer": {"learning_rate": 1e-3},
        "samples": {"num_prompts": 4, "generation": {"max_new_tokens": 8}},
    },
    "evaluate": {"num_prompts": 8, "samples_per_prompt": 2, "generation": {"max_new_tokens": 8}},
}
REWARD = "def cats(prompts, completions, columns):\n    return [float(c.count('cat')) for c in completions]\n"


@dataclass
class Outcome:
    code: int
    out: str
    error: str
    cpu_s: float
    elapsed_s: float
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass
class Place:
    """A copy of our packages that a test may edit, with data and recipe beside it."""

    home: Path

    @property
    def root(self) -> Path:
        return self.home / "runs"

    def records(self) -> list[dict[str, Any]]:
        """Those of the latest run's tasks."""
        tasks = json.loads((self.root / "run.json").read_text())["tasks"]
        files = (self.root / "stages" / f"{task['task']}-{task['key'][:12]}.json" for task in tasks)
        return [json.loads(file.read_text()) for file in files]

    def command(self, *options: str, root: str = "runs") -> dict[str, Any]:
        """Arguments of ``subprocess`` for a run."""
        command = [sys.executable, "-m", "copg.cli", "run", "align"]
        command += ["--recipe", str(self.home / "data/recipe.yaml"), "--on", "local"]
        command += ["--run-dir", str(self.home / root), *options]
        code = self.home / "code"
        path = os.pathsep.join(map(str, (code, code / "components", code / "pipelines")))
        environment = {**os.environ, "PYTHONPATH": path}
        return {"args": command, "cwd": self.home, "env": environment, "text": True}

    def run(self, *options: str) -> Outcome:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(**self.command(*options), capture_output=True, check=False, timeout=280)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        summary = json.loads((self.root / "summary.json").read_text())
        return Outcome(done.returncode, done.stdout, done.stderr, cpu_s, time.monotonic() - started, summary)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = copy_left(tmp_path_factory.mktemp("align") / "home")
    for package in ("copg", "components", "pipelines"):
        shutil.copytree(ROOT / package, home / "code" / package)
    (home / "data/mine.py").write_text(REWARD)
    (home / "data/recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return Place(home)


@pytest.fixture(scope="module")
def first(place: Place) -> Outcome:
    outcome = place.run()
    assert outcome.code == 0, outcome.error
    return outcome


def test_a_first_run_does_every_task_and_shows_a_line_for_each(first: Outcome) -> None:
    shown = re.findall(r"^(\S+) +\d+\.\d s(?: +\d+ of \d+ tasks.*|$)$", first.out, flags=re.MULTILINE)
    assert sorted(shown) == sorted(["resolve", *TASKS])
    lines = first.out.splitlines()
    begun = next(at for at, line in enumerate(lines) if line.startswith("resolve "))
    assert any(line.startswith("a turn ends with `") for line in lines[begun : begun + 9])
    assert "KFP" not in first.out
    assert first.error == ""


def test_the_log_is_named_first_and_what_was_warned_of_reaches_terminal_and_page(
    place: Place, first: Outcome
) -> None:
    log = first.out.splitlines()[0].removeprefix("log: ")
    assert Path(log).is_file()
    page = html.unescape((place.root / "report.html").read_text())
    warnings = first.summary["warnings"]
    assert [each for each in warnings if f"warning: {each}\n" not in first.out] == []
    assert [each for each in warnings if each in page], "of the stages before the report"


def test_the_summary_tells_what_each_trial_earned_and_what_it_took(place: Place, first: Outcome) -> None:
    summary = first.summary
    assert [(trial["name"], trial["method"], trial["beta"]) for trial in summary["trials"]] == [
        ("copg_0.1", "copg", 0.1),
        ("ipo_1", "ipo", 1.0),
    ]
    for estimates in (*summary["trials"], summary["reference"]):
        assert estimates["reward_low"] <= estimates["reward"] <= estimates["reward_high"]
        assert estimates["kl_low"] <= estimates["kl"] <= estimates["kl_high"]
    assert all(set(trial["seconds"]) == {"train", "evaluate"} for trial in summary["trials"])
    assert set(summary["seconds"]) == {"resolve", *TASKS}
    assert (summary["state"], summary["failure"], summary["cached"]) == ("succeeded", None, [])
    assert isinstance(summary["promoted"], bool)
    assert summary["reasons"]
    assert "<html" in Path(summary["report"]).read_text()


def test_the_reference_store_of_0_1_0_answers_and_all_else_is_computed(place: Place, first: Outcome) -> None:
    (metrics,) = (record["metrics"] for record in place.records() if record["stage"] == "reference")
    assert (metrics["reference/computed"], metrics["reference/reused"]) == (0, COMPUTED)
    assert first.summary["executed"] == sorted(["resolve", *TASKS])


def test_every_metric_of_the_glossary_is_one_that_was_written(place: Place, first: Outcome) -> None:
    written = {metric for record in place.records() for metric in record["metrics"]}
    for file in place.root.glob("artifacts/*/*/train/training/metrics.jsonl"):
        written |= {metric for line in file.read_text().splitlines() for metric in json.loads(line)}
    sections = (ROOT / "docs/metrics.md").read_text().split("\nMetrics of ")
    told = "".join(each for each in sections if not each.startswith("the stage `sample`"))  # it draws nothing
    named = re.findall(r"`([a-z_]+/[a-z_0-9]+)`", told)
    of_kto = {"reference_point/mean", "reference/mismatched"}  # no trial of it is here
    assert [metric for metric in named if metric not in written | of_kto] == []


@pytest.mark.parametrize("stage", ["report", "promote"])
@pytest.mark.nightly
def test_what_takes_every_trial_s_artifacts_runs_alone_on_them(
    place: Place, first: Outcome, stage: str
) -> None:
    taken = {"validate": "groups", "evaluate": "evaluation"}
    taken |= {"train": "training"} if stage == "report" else {}
    found = [r["outputs"][taken[r["stage"]]] for r in place.records() if r["stage"] in taken]
    given = [word for address in found for word in ("--from", address)]
    done = subprocess.run(
        **place.command("--only", stage, *given, root=f"alone-{stage}"), capture_output=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    left = dict(line.split(": ") for line in done.stdout.splitlines() if ": " in line)
    if stage == "report":
        page = (Path(left["report"]) / "report.html").read_text()
        assert "copg_0.1" in page
        assert "ipo_1" in page
    else:
        decision = json.loads((Path(left["registration"]) / "registration.json").read_text())
        assert (decision["promoted"], decision["reasons"]) == (
            first.summary["promoted"],
            first.summary["reasons"],
        )


def test_the_same_again_runs_resolve_and_the_exit_handler_alone(place: Place, first: Outcome) -> None:
    again = place.run()
    assert again.code == 0, again.error
    assert again.summary["executed"] == ["resolve"]
    assert again.summary["cached"] == TASKS
    assert again.cpu_s <= first.cpu_s / 6
    for key in ("trials", "reference", "champion", "promoted", "reasons", "report"):
        assert again.summary[key] == first.summary[key]
    executed = {path.parent.name for path in place.root.glob("artifacts/*/**/executor_output.json")}
    newest = max((place.root / "artifacts").iterdir())
    assert {p.parent.name for p in newest.glob("**/executor_output.json")} == {"resolve", "summary"}
    assert len(executed) > 2


@pytest.mark.nightly
def test_a_trial_that_fails_is_named_with_its_cause(place: Place, first: Outcome) -> None:
    failed = place.run("--set", "train.tracking.uri=sqlite:////proc/gone/mlflow.db")
    assert failed.code == 1
    *warned, why = failed.error.splitlines()
    assert [line for line in warned if not line.startswith("warning: ")] == []
    assert re.match(r"error: stage train, trial (copg_0\.1|ipo_1): ", why)
    assert "gone" in failed.error
    assert failed.summary["failure"]["stage"] == "train"
    assert (failed.summary["report"], failed.summary["promoted"]) == (None, None)


def test_a_mistake_in_the_recipe_is_one_line_before_anything_runs(place: Place, first: Outcome) -> None:
    logs = sorted((place.root / "logs").iterdir())
    failed = place.run("--set", "train.epocs=2", "--set", "score.source=guessed")
    assert failed.code == 1
    assert len(failed.error.splitlines()) == 1
    assert "train.epocs is unknown" in failed.error
    assert "score.source='guessed'" in failed.error
    assert sorted((place.root / "logs").iterdir()) == logs


def test_a_task_that_is_killed_is_told(place: Place, first: Outcome) -> None:
    reward = place.home / "data/mine.py"
    reward.write_text(REWARD.replace("    return", "    import os\n    os.kill(os.getpid(), 9)\n    return"))
    try:
        failed = place.run()
    finally:
        reward.write_text(REWARD)
    assert failed.code == 1
    assert failed.error.splitlines()[-1].startswith("error: stage score: killed while it ran")
    warned = [line for line in failed.summary["warnings"] if line.startswith("validate: ")]
    assert warned, "of a stage that ended before"
    assert [each for each in warned if f"warning: {each}\n" not in failed.error] == []


@pytest.mark.nightly
def test_an_edit_of_a_loss_trains_its_trials_again_and_all_that_follows(place: Place, first: Outcome) -> None:
    losses = place.home / "code/copg/losses/copg.py"
    losses.write_text(losses.read_text().replace("/ (2 * beta)", "/ (2.0 * beta)"))
    edited = place.run()
    assert edited.code == 0, edited.error
    again = {"train-copg_0.1", "evaluate-copg_0.1", "report", "promote"}
    assert edited.summary["cached"] == [task for task in TASKS if task not in again]
    assert set(edited.summary["executed"]) - {"evaluate-champion"} == {"resolve", *again}


def test_a_run_that_is_stopped_takes_its_tasks_with_it(place: Place) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(**place.command(root="stopped"), stdout=pipe, stderr=pipe) as process:
        while not list((place.home / "stopped/stages").glob("validate-*.json")):
            assert process.poll() is None
            time.sleep(0.1)
        tasks = psutil.Process(process.pid).children(recursive=True)
        assert tasks
        process.terminate()
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error.splitlines()[-1][:18]) == (130, "error: interrupted")
    assert psutil.wait_procs(tasks, timeout=10)[1] == []
