"""What trials that are compared share: a recipe, and data that the stages make once, in one folder."""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from copg.artifacts import begin, read_manifest, seal, write_json
from copg.config import parse_config
from copg.data.group_files import GroupWriter, read_groups
from copg.digests import json_digest
from copg.errors import ConfigError
from copg.records import SPLITS, Completion
from copg.run.recipe import Recipe, config_class, load_recipe
from copg.run.stage_settings import merged, stage_settings
from copg.stages.evaluate import evaluate_policy
from copg.stages.reference import reference_groups
from copg.stages.reward import RewardConfig, train_reward
from copg.stages.sample import sample_groups
from copg.stages.score import score_groups
from copg.stages.validate import validate_records

LEARNED = {"form": "text", "epochs": 2, "optimizer": {"learning_rate": 3e-4}}
"""Settings of a learned reward, beneath the recipe's section ``reward``."""


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


Make = Callable[[Path, Callable[[], object]], None]
"""Makes an artifact, given what does it, unless it is there."""


def make_artifact(folder: Path, work: Callable[[], object]) -> None:
    """The plain way."""
    if not finished(folder):
        work()


def prepare(bench: Bench, *, learned_reward: bool = False, make: Make = make_artifact) -> Bench:
    """Validate, sample where the recipe does, score and reference, once.

    Args:
        bench: with the recipe's own rewards.
        learned_reward: train a reward model on pairs ranked by them, and let it be the reward from here on;
            they themselves are measured beside it, at weight 0.
        make: one artifact.

    Returns:
        The bench, with the reward that trials are to maximise.

    Raises:
        ConfigError: the folder holds runs of another recipe or reward, which would be taken for this one's.
    """
    _claim(bench, {"recipe": asdict(bench.recipe), "learned_reward": learned_reward})
    validated, groups, scored = (bench.artifact(name) for name in ("validated", "groups", bench.scored))
    if bench.recipe.samples:
        make(validated, lambda: validate_records(bench.config("validate"), bench.recipe.records, validated))
        make(groups, lambda: sample_groups(bench.config("sample"), validated, groups))
    else:
        make(groups, lambda: validate_records(bench.config("validate"), bench.recipe.records, groups))
    make(scored, lambda: score_groups(bench.config("score"), groups, scored))
    if learned_reward:
        learned = replace(_learn_reward(bench, scored, make), scored="scored_learned")
        scored = learned.artifact(learned.scored)
        make(scored, lambda: score_groups(learned.config("score"), groups, scored))
        bench = learned
    referenced = bench.artifact("referenced")
    make(referenced, lambda: reference_groups(bench.config("reference"), scored, referenced))
    return bench


def _claim(bench: Bench, made_of: dict[str, Any]) -> None:
    path, digest = bench.out / "bench.json", json_digest(made_of)
    if path.exists() and json.loads(path.read_text())["digest"] != digest:
        raise ConfigError(
            f"{bench.out}: holds runs of another recipe, model, records or reward; choose another --out"
        )
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"digest": digest, **made_of})


def _learn_reward(bench: Bench, scored: Path, make: Make) -> Bench:
    """Rank the completions by the rewards there are, and learn a reward from the ranking alone."""
    ranked, model = bench.artifact("ranked"), bench.artifact("reward_model")
    if bench.recipe.samples:  # the prompts held out have no completions on which to test it
        evaluate_reference(bench, make=make)
    make(ranked, lambda: _rank(bench, scored, ranked))
    settings = merged(LEARNED, bench.recipe.stages.get("reward", {}))
    config = parse_config(RewardConfig, {"model": bench.recipe.model, **settings}, where="reward")
    make(model, lambda: train_reward(config, ranked, model))
    reward = {"name": "reward_model", "params": {"model": str(model), "form": config.form}}
    watched = [{**each, "weight": 0.0} for each in bench.recipe.rewards]
    stages = {**bench.recipe.stages, "score": {}}
    return replace(bench, recipe=replace(bench.recipe, rewards=[reward, *watched], stages=stages))


def _rank(bench: Bench, scored: Path, ranked: Path) -> None:
    parent = read_manifest(scored, schema="scored")
    drawn = _drawn(bench.artifact("reference_evaluation")) if bench.recipe.samples else {}
    begin(ranked)
    with GroupWriter(ranked) as writer:
        for split in SPLITS:
            for group in read_groups(scored, split):
                if split != "train" and drawn:
                    group.completions = drawn.get(group.id, [])
                writer.write(split, group)
    parents = {"scored": parent.digest}
    seal(ranked, schema="groups", stage="validate", rows=parent.rows, config=parent.config, parents=parents)


def _drawn(evaluation: Path) -> dict[str, list[Completion]]:
    """What a policy drew for held-out prompts, with its rewards, by prompt; each text once."""
    found: dict[str, dict[str, Completion]] = {}
    for row in pq.read_table(evaluation / "generations.parquet").to_pylist():
        text = row["completion"]
        found.setdefault(row["id"], {})[text] = Completion(text=text, reward=row["reward"])
    return {prompt: list(completions.values()) for prompt, completions in found.items()}


def evaluate_reference(bench: Bench, *, make: Make = make_artifact, **changes: Any) -> dict:
    """Evaluation of the reference on both held-out splits.

    Args:
        bench: whose reward counts.
        make: the artifact.
        changes: of the recipe's settings of ``evaluate``.
    """
    name = "reference_evaluation" if bench.scored == "scored" else f"reference_evaluation_{bench.scored}"
    folder, scored = bench.artifact(name), bench.artifact(bench.scored)
    make(folder, lambda: evaluate_policy(bench.config("evaluate", **changes), scored, folder, policy=None))
    return json.loads((folder / "evaluation.json").read_text())


def short(value: float) -> float:
    """With three digits, as settings and names have it."""
    return float(f"{value:.3g}")


def reward_spread(bench: Bench) -> float:
    """Standard deviation of the rewards within a prompt, mean over prompts, reward units."""
    groups = read_groups(bench.artifact("referenced"), "train")
    return float(np.mean([np.std([c.reward for c in group.completions], ddof=1) for group in groups]))
