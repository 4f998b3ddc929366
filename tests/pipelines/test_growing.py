"""What somebody adds touches few files and makes nothing else run again; each copy of the tree is edited."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.compiled import read_compiled

from tests import tiny

ROOT = Path(__file__).parents[2]
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "records": "records.jsonl",
    "model": "./model",
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
}
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
FINISH = """
import sys
from pathlib import Path
from copg.run.recipe import load_recipe
from copg.run.resolve import ResolveConfig, resolve_recipe
from copg.run.task_record import RUN, TaskRecord, read_json, write_record
root = Path(sys.argv[1], "runs")
recipe = load_recipe(Path(sys.argv[1], "recipe.yaml"), here=Path(sys.argv[1]))
found = resolve_recipe(ResolveConfig(recipe=recipe, run_dir=str(root)))
run = read_json(root / RUN)["run"]
for task in found.tasks:
    fields = {name: task[name] for name in ("stage", "task", "key", "subject")}
    write_record(root, TaskRecord(**fields, run=run, state="succeeded"))
"""
EXPLAIN = """
import json, sys
from pathlib import Path
from copg.run.recipe import load_recipe
from copg_pipelines.explain_cache import explain_local
for sets in json.loads(sys.argv[2]):
    recipe = load_recipe(Path(sys.argv[1], "recipe.yaml"), sets, here=Path(sys.argv[1]))
    found = explain_local("align", recipe, Path(sys.argv[1], "runs"))
    print(json.dumps({each.task: each.why for each in found if not each.reused}))
"""
COMPILE = """
import sys
from pathlib import Path
from copg.run.recipe import load_recipe
from copg_pipelines.dags.compiling import compile_dag
there = ["placement.paths={/: /runs}"]
recipe = load_recipe(Path(sys.argv[1], "recipe.yaml"), there, here=Path(sys.argv[1]))
compile_dag(sys.argv[2], recipe, Path(sys.argv[1], "dag.yaml"), run_dir="/runs/tiny")
"""
RUN_IT = """
import json, sys
from pathlib import Path
from copg.run.recipe import load_recipe
from copg_pipelines.local import run_local
recipe = load_recipe(Path(sys.argv[1], "recipe.yaml"), here=Path(sys.argv[1]))
summary = run_local(sys.argv[2], recipe, Path(sys.argv[1], "short"))
print(json.dumps(summary))
"""


class Tree:
    """A copy of our source, and a run that it finished: resolved for real, with the records of its tasks."""

    def __init__(self, home: Path) -> None:
        self.home, self.code = home, home / "code"

    def add(self, path: str, text: str) -> None:
        (self.code / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.code / path).read_text()
        assert text.count(old) == 1, f"{path}: {old!r} stands there {text.count(old)} times"
        (self.code / path).write_text(text.replace(old, new))

    def python(self, program: str, *words: str) -> str:
        path = os.pathsep.join(str(self.code / part) for part in ("", "components", "pipelines"))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", program, str(self.home), *words]
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_again(self, *sets: str) -> list[dict[str, list[str]]]:
        """Tasks that the next run would not be answered for, with the reasons: as it is, with each set."""
        each = [[], *([one] for one in sets)]
        return [json.loads(line) for line in self.python(EXPLAIN, json.dumps(each)).splitlines()]

    def compiled(self, dag: str) -> dict[str, Any]:
        self.python(COMPILE, dag)
        return read_compiled(self.home / "dag.yaml")[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Tree:
    home = tmp_path_factory.mktemp("finished") / "home"
    for part in ("copg", "components", "pipelines", "pyproject.toml"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, home / "code" / part)
        else:
            shutil.copy(ROOT / part, home / "code" / part)
    shutil.copytree(reference_dir, home / "model")
    tiny.write_records(home / "records.jsonl", 16, 3)
    (home / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    tree = Tree(home)
    tree.python(FINISH)
    return tree


@pytest.fixture
def tree(finished: Tree, tmp_path: Path) -> Tree:
    """The code to edit; data, recipe and run are the finished ones."""
    copy = Tree(finished.home)
    copy.code = tmp_path / "code"
    shutil.copytree(finished.code, copy.code)
    return copy


def test_reworded_docstrings_a_comment_and_another_version_make_nothing_run_again(tree: Tree) -> None:
    tree.edit(
        "copg/errors.py", "Base of every error a user can cause and mend", "What a user did and can mend"
    )
    with (tree.code / "copg/losses/copg.py").open("a") as losses:
        losses.write("\n\n# a comment\n")
    tree.edit("copg/__init__.py", '__version__ = "', '__version__ = "9.')
    assert tree.run_again() == [{}]


def test_a_changed_constant_of_a_loss_trains_its_trials_again_and_what_follows(tree: Tree) -> None:
    tree.edit("copg/losses/copg.py", "return pairs / (sizes - 1)", "return pairs / (sizes - 1.0)")
    (found,) = tree.run_again()
    assert set(found) == {"train-copg_0.1", "evaluate-copg_0.1", "report", "promote"}
    (changed,) = found["train-copg_0.1"]
    assert changed.startswith("trial: code ")


def test_another_function_of_the_same_file_is_another_loss(tree: Tree) -> None:
    tree.edit("copg/losses/__init__.py", "copg.losses.copg:copg_loss", "copg.losses.copg:copg_mean_loss")
    (found,) = tree.run_again()
    assert set(found) == {"train-copg_0.1", "evaluate-copg_0.1", "report", "promote"}


@pytest.mark.nightly
def test_a_changed_constant_that_every_loss_uses_trains_all_trials_again(tree: Tree) -> None:
    tree.edit("copg/losses/groups.py", "    if not beta > 0:", "    if not beta > 0.0:")
    (found,) = tree.run_again()
    assert set(found) == set(TASKS[4:])


def test_a_reward_is_its_file_and_a_line(tree: Tree) -> None:
    tree.add(
        "copg/rewards/shout.py",
        '"""How loud a completion is."""\n\n'
        "from dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Shout:\n"
        "    loud: float = 1.0\n\n"
        "    def __call__(self, prompts, completions, columns):\n"
        '        return [self.loud * text.count("!") for text in completions]\n',
    )
    tree.edit(
        "copg/rewards/__init__.py", "REWARDS = {\n", 'REWARDS = {\n    "shout": "copg.rewards.shout:Shout",\n'
    )
    before, again = tree.run_again("rewards=[{name: shout}]")
    assert before == {}
    used = (
        "from copg.rewards.contract import RewardSpec\nfrom copg.rewards.mixture import build_mixture\n"
        "print(build_mixture([RewardSpec('shout', params={'loud': 2})])(['p'], ['a!!'], [{}]).total)"
    )
    assert tree.python(used).strip() == "[4.0]"
    assert "validate" not in again
    assert any(why.startswith("rewards/score ") for why in again["score"])


def test_a_method_is_its_file_and_a_line(tree: Tree) -> None:
    tree.add(
        "copg/losses/flat.py", "def flat_loss(completions, *, beta):\n    return completions.rewards * beta\n"
    )
    tree.edit(
        "copg/losses/__init__.py", "LOSSES = {\n", 'LOSSES = {\n    "flat": "copg.losses.flat:flat_loss",\n'
    )
    # which sees only the order of rewards: its name stands beside the losses, in the digest of no stage
    tree.edit(
        "copg/losses/__init__.py",
        "ORDER_ALONE = frozenset(\n    (",
        'ORDER_ALONE = frozenset(\n    ("flat", ',
    )
    trials = [*RECIPE["trials"], {"method": "flat", "beta": 2}]
    before, found = tree.run_again(f"trials={json.dumps(trials)}")
    assert before == {}
    assert set(found) == {"train-flat_2", "evaluate-flat_2", "report", "promote"}
    assert found["train-flat_2"] == ["the trial is new"]


def test_a_stage_is_its_function_its_component_a_row_and_a_line_of_wiring(tree: Tree) -> None:
    tree.add(
        "copg/stages/audit.py",
        "from copg.config import configuration\n\n\n"
        "@configuration\nclass AuditConfig:\n    strictness: int = 1\n",
    )
    tree.add(
        "components/copg_components/audit.py",
        "from kfp import dsl\nfrom copg_components._component import component\n\n\n@component\n"
        "def audit(plan: dict, run_dir: str, scored: dsl.Input[dsl.Dataset]) -> None:\n"
        '    """Look at the rewards."""\n',
    )
    row = '    Row(name="audit", title="Look twice", after=("score",), inputs=("scored",)),\n'
    tree.edit(
        "copg/stages/table.py",
        '    Row(\n        name="reference",',
        f'{row}    Row(\n        name="reference",',
    )
    align = "pipelines/copg_pipelines/dags/align.py"
    line = '        shards = filled("reference",'
    tree.edit(align, line, f'        task(audit, "audit", scored=scored)\n{line}')
    tree.edit(
        align, "from kfp import dsl\n", "from copg_components.audit import audit\nfrom kfp import dsl\n"
    )
    assert tree.run_again("audit.strictness=2") == [{"audit": ["the stage is new"]}] * 2
    spec = tree.compiled("align")
    resolve = spec["components"]["comp-resolve"]["outputDefinitions"]["parameters"]
    assert resolve["audit"]["parameterType"] == "STRUCT"
    task = spec["components"]["comp-stages"]["dag"]["tasks"]["audit"]
    assert task["inputs"]["artifacts"]["scored"]["taskOutputArtifact"]["producerTask"] == "score"


def test_an_engine_is_its_file(tree: Tree) -> None:
    tree.add(
        "copg/lm/engines/echo.py",
        "from copg.lm.generation import Generated\n\n\n"
        "def draw(policy, prompts, noise_keys, config, *, description=None):\n"
        '    return [Generated(list(ids), "echo", True) for ids in prompts]\n',
    )
    before, again = tree.run_again("evaluate.generation.engine=echo")
    assert before == {}
    used = (
        "import sys\nfrom copg.config import parse_config\nfrom copg.lm.config import GenerationConfig\n"
        "echo = parse_config(GenerationConfig, {'engine': 'echo'}, where='generation')\n"
        "assert 'torch' not in sys.modules\nfrom copg.lm.generation import Policy, load_engine\n"
        "print(load_engine(echo)(Policy(codec=None), [[1]], ['k'], echo)[0].text)\n"
        "print(*(name for name in sys.modules if name.startswith('copg.lm.engines.')))"
    )
    assert tree.python(used).splitlines() == ["echo", "copg.lm.engines.echo"]
    assert {task.partition("-")[0] for task in again} == {"evaluate", "report", "promote"}
    assert any(why.startswith("code/evaluate ") for why in again["evaluate-reference"])


SHORT = '''
"""The DAG ``short``: what the records earn."""

from typing import Any

from copg_components.resolve import resolve
from copg_components.score import score
from copg_components.summary import summary
from copg_components.validate import validate
from kfp import dsl

PLANS = ("validate", "score")


def build(shape: Any) -> Any:
    place = shape.place

    @dsl.pipeline(name="short", description="Score records.")
    def short(
        name: str, records: str, model: str, trials: list, rewards: list, run_dir: str, settings: dict = {}
    ) -> None:
        summed = place(summary(run_dir=run_dir)).set_caching_options(enable_caching=False)
        with dsl.ExitHandler(summed):
            plan = place(
                resolve(name=name, records=records, model=model, rewards=rewards, trials=trials,
                        settings=settings, run_dir=run_dir, plans=list(PLANS))
            ).set_caching_options(enable_caching=False).outputs
            validated = place(validate(plan=plan["validate"], records=records, run_dir=run_dir))
            place(score(plan=plan["score"], run_dir=run_dir, groups=validated.outputs["groups"]))

    return short
'''


@pytest.mark.nightly
def test_a_dag_is_its_file_and_a_line_and_its_tasks_look_under_their_own_keys_before_they_work(
    tree: Tree,
) -> None:
    """A run that is real: Kubeflow's cache goes by the image of a task, ours by what its code means."""
    tree.add("pipelines/copg_pipelines/dags/short.py", SHORT)
    dags = "pipelines/copg_pipelines/dags/__init__.py"
    tree.edit(dags, "DAGS = {\n", 'DAGS = {\n    "short": "copg_pipelines.dags.short",\n')
    assert tree.run_again() == [{}]

    def run() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(tree.python(RUN_IT, "short").splitlines()[-1])
        assert found["failure"] is None, Path(found["log"]).read_text()[-3000:]
        return found

    first = run()
    assert (first["executed"], first["cached"]) == (["resolve", "score", "validate"], [])
    tree.edit(
        "components/copg_components/score.py", "Fill the reward of every completion", "Score every completion"
    )
    shutil.rmtree(tree.home / "short/cache")  # as another image makes every task another one for KFP's
    tree.edit(
        "copg/errors.py", "Base of every error a user can cause and mend", "What a user did and can mend"
    )
    left = sorted((tree.home / "short/artifacts").glob("*/*/*/manifest.json"))
    second = run()
    assert (second["executed"], second["cached"]) == (["resolve"], ["validate", "score"])
    assert sorted((tree.home / "short/artifacts").glob("*/*/*/manifest.json")) == left, (
        "nothing was made anew"
    )
    newest = max((tree.home / "short/artifacts").iterdir())
    assert {path.parent.name for path in newest.glob("*/executor_output.json")} >= {"validate", "score"}

    shutil.rmtree(next(path.parent for path in left if path.parent.name == "scored"))
    third = run()
    assert (third["executed"], third["cached"]) == (["resolve", "score"], ["validate"])
