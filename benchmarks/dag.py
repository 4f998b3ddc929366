"""What the pipeline costs beside its stages: seconds a task beyond the stage's own, and seconds of importing.

Runs the demo's DAG on this machine twice: all of its trials with few generated completions, for the seconds
of each task (from the runner's log) and of its stage (from the run's records); and one trial under Python's
import profiler, for what each imports. That is then imported once more without the profiler, in a process of
its own, and timed. A stage's seconds include its imports. Of the same DAG on a cluster it tells the seconds
in which no pod works, predicted from its compiled form.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.dags.idle import PATCHED_REQUEUE_S, UPSTREAM_REQUEUE_S, idle_seconds

from benchmarks.harness import write_report
from copg.run.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "pipelines" / "recipes" / "demo.yaml"
FEW = ("evaluate.num_prompts=16", "train.samples.num_prompts=0")
ONE_TRIAL = ("trials=[{method: copg, beta: 0.05}]", *FEW)
COLOUR = re.compile(r"\x1b\[\d*m")
EVENT = re.compile(
    r"(?:(\d\d):(\d\d):([\d.]+) - INFO - )?"
    r"(?:Executing task '([a-z]+)(?:-\d+)?'|Task '([a-z]+)(?:-\d+)?' finished)"
)
IMPORT = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$")
REPLAY = """
import importlib, json, sys, time
def load(names):
    start = time.perf_counter()
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:  # as its importer met it: an optional one
            if name.startswith("copg"):
                raise
    return time.perf_counter() - start
print(json.dumps([load(names) for names in json.load(sys.stdin)]))
"""
HANDED_OVER = "Got executor_input"
"""From here on, what a task imports is the stage's own."""
DAY_S = 86_400


@dataclass
class Tasks:
    """All tasks of one stage, by the runner's log; starts and ends need no pairing to be summed."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    runner_modules: list[str] = field(default_factory=list)
    """In the order in which they were loaded; until the task's inputs were handed over."""
    stage_modules: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of all tasks together."""
        return sum(self.ends) - sum(self.starts)


def read_log(lines: Iterable[str]) -> dict[str, Tasks]:
    """Times of every stage's tasks, and their imports where the log holds them (one task at a time).

    Tasks that run side by side take each other's log format away: a line without a time gets the next one's.
    """
    tasks: dict[str, Tasks] = defaultdict(Tasks)
    untimed: list[list[float]] = []
    running, handed_over, midnight, last = "", False, 0, 0.0
    for line in lines:
        events = list(EVENT.finditer(COLOUR.sub("", line)))  # several where tasks end at the same moment
        for event in events:
            hours, minutes, seconds, begun, finished = event.groups()
            times = tasks[finished].ends if finished else tasks[begun].starts
            running, handed_over = begun or finished, False
            if hours is None:
                untimed.append(times)
                continue
            now = midnight + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
            if now < last - 1:
                midnight, now = midnight + DAY_S, now + DAY_S
            last = now
            for earlier in (*untimed, times):
                earlier.append(now)
            untimed.clear()
        if HANDED_OVER in line:
            handed_over = True
        elif not events and running and (found := IMPORT.search(line)):
            of_stage = tasks[running]
            (of_stage.stage_modules if handed_over else of_stage.runner_modules).append(found[1])
    for name, of_stage in tasks.items():
        if len(of_stage.starts) != len(of_stage.ends):
            raise ValueError(f"{name}: {len(of_stage.starts)} starts, {len(of_stage.ends)} ends in the log")
    return dict(tasks)


def busy_seconds(tasks: Iterable[Tasks]) -> float:
    """Seconds in which at least one task ran."""
    events = sorted(
        [(start, 1) for of_stage in tasks for start in of_stage.starts]
        + [(end, -1) for of_stage in tasks for end in of_stage.ends]
    )
    busy = running = 0.0
    since = 0.0
    for moment, change in events:
        busy += (moment - since) * (running > 0)
        running, since = running + change, moment
    return busy


def run_dag(data: Path, root: Path, *, sets: Iterable[str] = (), profile_imports: bool = False) -> list[str]:
    """Run the demo's DAG; the lines of the runner's log."""
    given = [f"records={data / 'records.jsonl'}", f"model={data / 'reference'}", *sets]
    command = [
        sys.executable,
        "-m",
        "copg.cli",
        "run",
        "align",
        "--recipe",
        str(RECIPE),
        "--run-dir",
        str(root),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if profile_imports:
        environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = subprocess.run(
        [*command, *(part for each in given for part in ("--set", each))],
        env=environment,
        stdout=sys.stderr,
        stderr=subprocess.PIPE if profile_imports else None,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the DAG ended with exit code {done.returncode}; its log is in {root / 'logs'}")
    (log,) = (root / "logs").glob("*.log")
    return log.read_text(errors="replace").splitlines()


def import_seconds(of_stage: Tasks) -> list[float]:
    """What the runner's imports and then the stage's take, without a profiler."""
    modules = [of_stage.runner_modules, of_stage.stage_modules]
    command = [sys.executable, "-c", REPLAY]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, input=json.dumps(modules), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def stage_seconds(root: Path) -> dict[str, list[float]]:
    """The stage's own seconds of every task of a run, by stage."""
    found: dict[str, list[float]] = defaultdict(list)
    for path in (root / "stages").glob("*.json"):
        record = json.loads(path.read_text())
        found[record["stage"]].append(record["seconds"])
    return dict(found)


def measure(data: Path, folder: Path) -> dict[str, Any]:
    """One repeat: both runs."""
    log = run_dag(data, folder / "whole", sets=FEW)
    tasks, stages = read_log(log), stage_seconds(folder / "whole")
    profiled = read_log(run_dag(data, folder / "profiled", sets=ONE_TRIAL, profile_imports=True))
    imports = {name: import_seconds(of_stage) for name, of_stage in profiled.items() if name in stages}
    count = sum(len(of_stage.starts) for of_stage in tasks.values())
    first = min(min(of_stage.starts) for of_stage in tasks.values())
    last = max(max(of_stage.ends) for of_stage in tasks.values())
    within = sum(of_stage.seconds - sum(stages[name]) for name, of_stage in tasks.items() if name in stages)
    between = last - first - busy_seconds(tasks.values())
    return {
        "dag_s": last - first,
        "tasks": count,
        "between_tasks_s": between,
        "beyond_stage_s": (within + between) / count,
        "stages": {
            name: {
                "tasks": len(of_stage.starts),
                "stage_s": statistics.fmean(stages[name]),
                "beyond_s": (of_stage.seconds - sum(stages[name])) / len(of_stage.starts),
                "runner_import_s": imports[name][0],
                "stage_import_s": imports[name][1],
            }
            for name, of_stage in tasks.items()
            if name in stages
        },
    }


def summarise(repeats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the repeats, a line a stage and one for all."""
    lines = []
    for name, first in repeats[0]["stages"].items():
        median = {key: statistics.median(r["stages"][name][key] for r in repeats) for key in first}
        lines.append(
            {
                "stage": name,
                "tasks": median["tasks"],
                "stage's own s": median["stage_s"],
                "of it imports": median["stage_import_s"],
                "beyond it, s": median["beyond_s"],
                "of it imports of Python and kfp": median["runner_import_s"],
            }
        )
    beyond = statistics.median(repeat["beyond_stage_s"] for repeat in repeats)
    whole = statistics.median(repeat["dag_s"] for repeat in repeats)
    all_tasks = {"stage": "all, gaps between tasks with them", "tasks": repeats[0]["tasks"]}
    return [*lines, dict(zip(lines[0], [*all_tasks.values(), whole, "", beyond, ""], strict=True))]


def predicted_idle(folder: Path) -> dict[str, float]:
    """Seconds in which no pod of the demo's DAG works, with and without the controller's patch."""
    dag = folder / "demo.yaml"
    compile_dag("align", load_recipe(RECIPE), dag, run_dir="/runs/demo", image="copg@sha256:0")
    spec, _ = read_compiled(dag)
    how = {"with the patch": PATCHED_REQUEUE_S, "without": UPSTREAM_REQUEUE_S}
    return {name: idle_seconds(spec, each) for name, each in how.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, help="of the demo; made on the spot unless given")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dag.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder, "data")
        if not args.data:
            subprocess.run([sys.executable, "-m", "examples.demo", "--out", str(data)], check=True)
        repeats = [measure(data.resolve(), Path(folder, str(i))) for i in range(args.repeats)]
        idle = predicted_idle(Path(folder))
    print("on a cluster, predicted:", ", ".join(f"{s:.0f} s idle {how}" for how, s in idle.items()))
    details = {"repeats": repeats, "predicted idle seconds": idle}
    write_report(args.out, summarise(repeats), device=args.device, details=details)


if __name__ == "__main__":
    main()
