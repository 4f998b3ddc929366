"""What no pod could run is refused by every command that makes a DAG, before a server is asked anything."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.placement.config import parse_placement
from copg_pipelines.placement.paths import check_paths

from copg.errors import ConfigError
from copg.run.recipe import parse_recipe
from tests.pipelines.command import IMAGE, RECIPE, Command
from tests.pipelines.kfp_server import KfpServer

COMMANDS = (
    "compile align --output {folder}/dag.yaml",
    "create align",
    "run align --on cluster --no-wait",
    "run align --on cluster --no-wait --only validate",
    "schedule align --cron @daily",
    "explain-cache align --on cluster",
    "run align --run-dir {folder}/runs",
    "run align --run-dir {folder}/runs --only validate",
)
MISTAKES = {
    "train.seed=1": "train.seed is unknown; use one of",
    "trials=[{beta: -1}]": "beta=-1.0 must be > 0",
    "rewards=[{name: lenght}]": "reward='lenght' is unknown",
}
UNSEEN = {
    "records=/home/me/records.jsonl": "records='/home/me/records.jsonl' lies on no volume",
    "records=data/records.jsonl": "records='data/records.jsonl' is relative",
    "records=/runs/../home/records.jsonl": "lies on no volume of the placement (/runs)",
    "model=~/model": "model='~/model' is relative",
    "train.start_from=/models/policy": "train.start_from='/models/policy' lies on no volume",
    "score.store=rewards": "score.store='rewards' is relative",
    "train.checkpoint.folder=/tmp/checkpoints": "train.checkpoint.folder='/tmp/checkpoints' lies on no",
    "tracking=sqlite:////home/me/mlflow.db": "tracking='sqlite:////home/me/mlflow.db' lies on no volume",
    "rewards=[{name: /home/me/mine.py:score}]": "rewards='/home/me/mine.py' lies on no volume",
    "rewards=[{name: similarity, params: {model: /home/m, column: x}}]": "rewards.similarity.model='/home/m'",
    "evaluate.rewards=[{name: /home/me/judge.py:score}]": "rewards='/home/me/judge.py' lies on no volume",
    "train.samples.rewards=[{name: mine.py:score}]": "rewards='mine.py' is relative",
    "placement.volumes=[]": "run_dir='/runs/demo' lies on no volume of the placement (it has none)",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_mistake_in_the_settings_reaches_no_server(
    command: Command, server: KfpServer, tmp_path: Path, words: str
) -> None:
    for change, line in MISTAKES.items():
        typed = [*words.format(folder=tmp_path).split(), "--recipe", str(command.recipe), "--set", change]
        refused = command(*typed, host="cluster" in words or words.split()[0] in ("create", "schedule"))
        assert refused.code == 1
        assert line in refused.why
    assert server.asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.yaml"]


def test_what_only_a_pod_or_the_last_task_would_find_is_refused_too(
    command: Command, server: KfpServer
) -> None:
    pilot = {"method": "copg", "beta": {"kl": 2}}
    nodes = {"stages": {"train": {"nodes": 2}}}
    for changes, line in (
        (
            {"trials": [pilot], "placement": nodes},
            "trial copg_kl2: a pilot, which finds beta for a KL, runs in",
        ),
        ({"placement": {"image": {"pull_secrets": ["My_Key"]}}}, "image.pull_secrets='My_Key' must be lower"),
        ({"promote": {"keep": ["mine"]}}, "promote.keep=['mine'] are no trials; use names of ['copg_0.05']"),
    ):
        command.recipe.write_text(yaml.safe_dump({**RECIPE, **changes}))
        refused = command.with_recipe("create", "align")
        assert refused.code == 1
        assert line in refused.why
    assert server.asked == []
    command.recipe.write_text(yaml.safe_dump({**RECIPE, "trials": [pilot]}))
    assert command.with_recipe("create", "align").code == 0


@pytest.mark.parametrize("change", UNSEEN)
def test_a_path_that_no_pod_sees_is_refused(command: Command, server: KfpServer, change: str) -> None:
    for words in (("create", "align"), ("schedule", "align", "--cron", "@daily")):
        refused = command.with_recipe(*words, "--set", change)
        assert refused.code == 1
        assert UNSEEN[change] in refused.why
    assert server.asked == []


def test_a_path_is_seen_on_a_volume_in_a_store_or_where_the_placement_says_it_lies(command: Command) -> None:
    recipe = {**RECIPE, "model": "/models/reference", "reference": {"store": "s3://bucket/store"}}
    recipe["placement"] = {"paths": {"/models": "/models"}}
    command.recipe.write_text(yaml.safe_dump(recipe))
    assert command.with_recipe("create", "align").code == 0
    recipe["placement"] = {"volumes": [{}, {"claim": "models", "path": "/models"}]}
    command.recipe.write_text(yaml.safe_dump(recipe))
    assert command.with_recipe("create", "align").code == 0


def test_a_key_of_a_secret_that_tasks_mount_is_seen_and_no_other() -> None:
    def check(key_file: str, **placement: Any) -> None:
        judge = {
            "name": "judge",
            "params": {"url": "http://h", "model": "m", "rubric": "r", "key_file": key_file},
        }
        asked = {"url": "http://h", "model": "m", "key_file": key_file}
        recipe = parse_recipe({**RECIPE, "rewards": [judge], "sample": {"endpoint": asked}})
        check_paths(recipe, parse_placement(placement), "/runs/demo")

    check("/secrets/copg-secrets/MY_KEY")
    check("/secrets/mine/key", secrets=[{"name": "mine"}])
    for file in ("/secrets/other/key", "/home/me/key", "/secrets/key"):
        with pytest.raises(ConfigError, match=f"^sample.endpoint.key_file='{file}' lies on no volume"):
            check(file)
    with pytest.raises(ConfigError, match="lies on no volume"):  # its keys are variables, and no files
        check("/secrets/mine/KEY", secrets=[{"name": "mine", "keys": ["KEY"]}])


def test_the_refusal_loads_neither_a_numerical_library_nor_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump({**RECIPE, "train": {"seed": 1}}))
    program = (
        "import sys; from copg.cli import main\n"
        f"sys.argv = ['copg', 'compile', 'align', '-r', 'demo.yaml', '-o', 'a.yaml', '--image', '{IMAGE}']\n"
        "try: main.main()\n"
        "finally: print([name for name in ('torch', 'transformers', 'kfp', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "train.seed is unknown" in done.stderr
    assert (done.returncode, done.stdout) == (1, "[]\n")
