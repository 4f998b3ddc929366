"""What trials that are compared share: a recipe, and data that the stages make once, in one folder."""

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from copg.artifacts import begin, read_manifest, seal, write_json
from copg.config import parse_config
from copg.data.group_files import GroupWriter, read_groups
from copg.digests import json_digest
from copg.errors import ConfigError
from copg.records import SPLITS
from copg.run.recipe import Recipe, config_class, load_recipe
from copg.run.stage_settings import stage_settings
from copg.stages.evaluate import evaluate_policy
from copg.stages.reference import reference_groups
from copg.stages.reward import RewardConfig, train_reward
from copg.stages.score import score_groups
from copg.stages.validate import validate_records
from copg.training.config import OptimizerConfig


@dataclass(frozen=True)
class Bench:
    """A recipe and the folder in which it is tried."""

    recipe: Recipe
    out: Path
    scored: str = "scored"
    """Name of the artifact whose rewards are maximised; it also has the prompts held out."""

    def config(self, stage: str, **changes: Any) -> Any:
        """The stage's dataclass, as the recipe has it, with ``changes`` laid over its sections."""
        settings = stage_settings(self.recipe, stage, run_dir=self.out)
        for key, value in changes.items():
            merged = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
            settings[key] = {**settings[key], **value} if merged else value
        return parse_config(config_class(stage), settings, where=stage)

    def artifact(self, name: str) -> Path:
        """Where an artifact made once for all trials lies."""
        return self.out / "data" / name


def bench_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of which ``bench_of`` makes a bench, for an experiment to add its own to."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipe", type=Path, default=Path("pipelines/recipes/demo.yaml"), help="%(default)s"
    )
    parser.add_argument("--records", help="instead of the recipe's")
    parser.add_argument("--model", help="reference, instead of the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], help="any setting of the recipe, train.epochs=2"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for data, runs, results and figures")
    return parser


def bench_of(args: argparse.Namespace, *, device: str) -> Bench:
    """The bench that somebody asked for, before any stage has looked for a GPU.

    Args:
        args: of ``bench_parser``.
        device: ``cpu``, which hides the GPUs that the stages would take, or ``cuda``.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    given = [f"{name}={getattr(args, name)}" for name in ("records", "model") if getattr(args, name)]
    return Bench(load_recipe(args.recipe, [*given, *args.set], here=Path.cwd()), args.out.resolve())


def finished(folder: Path) -> bool:
    """Whether the artifact is there; what an interrupted attempt left is removed."""
    if (folder / "manifest.json").exists():
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def prepare(bench: Bench, *, learned_reward: bool = False) -> Bench:
    """Validate, score and reference, once.

    Args:
        bench: with the recipe's own rewards.
        learned_reward: train a reward model on pairs ranked by them, and let it be the reward from here on.

    Returns:
        The bench, with the reward that trials are to maximise.

    Raises:
        ConfigError: the folder holds runs of another recipe or reward, which would be taken for this one's.
    """
    _claim(bench, {"recipe": asdict(bench.recipe), "learned_reward": learned_reward})
    groups, scored = bench.artifact("groups"), bench.artifact(bench.scored)
    if not finished(groups):
        validate_records(bench.config("validate"), bench.recipe.records, groups)
    if not finished(scored):
        score_groups(bench.config("score"), groups, scored)
    if learned_reward:
        bench = replace(_learn_reward(bench, scored), scored="scored_learned")
        scored = bench.artifact(bench.scored)
        if not finished(scored):
            score_groups(bench.config("score"), groups, scored)
    if not finished(bench.artifact("referenced")):
        reference_groups(bench.config("reference"), scored, bench.artifact("referenced"))
    return bench


def _claim(bench: Bench, made_of: dict[str, Any]) -> None:
    path, digest = bench.out / "bench.json", json_digest(made_of)
    if path.exists() and json.loads(path.read_text())["digest"] != digest:
        raise ConfigError(
            f"{bench.out}: holds runs of another recipe, model, records or reward; choose another --out"
        )
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"digest": digest, **made_of})


def _learn_reward(bench: Bench, scored: Path) -> Bench:
    """Rank the completions by the rewards there are, and learn a reward from the ranking alone."""
    ranked, model = bench.artifact("ranked"), bench.artifact("reward_model")
    if not finished(ranked):
        parent = read_manifest(scored, schema="scored")
        begin(ranked)
        with GroupWriter(ranked) as writer:
            for split in SPLITS:
                for group in read_groups(scored, split):
                    writer.write(split, group)
        parents = {"scored": parent.digest}
        seal(
            ranked, schema="groups", stage="validate", rows=parent.rows, config=parent.config, parents=parents
        )
    if not finished(model):
        config = RewardConfig(
            model=bench.recipe.model, form="text", epochs=2, optimizer=OptimizerConfig(learning_rate=3e-4)
        )
        train_reward(config, ranked, model)
    reward = {"name": "reward_model", "params": {"model": str(model), "form": "text"}}
    stages = {**bench.recipe.stages, "score": {}}
    return replace(bench, recipe=replace(bench.recipe, rewards=[reward], stages=stages))


def evaluate_reference(bench: Bench) -> dict:
    """Evaluation of the reference on both held-out splits."""
    folder = bench.artifact("reference_evaluation")
    if not finished(folder):
        evaluate_policy(bench.config("evaluate"), bench.artifact(bench.scored), folder, policy=None)
    return json.loads((folder / "evaluation.json").read_text())


def reward_spread(bench: Bench) -> float:
    """Standard deviation of the rewards within a prompt, mean over prompts, reward units."""
    groups = read_groups(bench.artifact("referenced"), "train")
    return float(np.mean([np.std([c.reward for c in group.completions], ddof=1) for group in groups]))
