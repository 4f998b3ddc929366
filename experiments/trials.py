"""Trials of a comparison: data made once by the product's stages, then each trial trained and evaluated once.

Everything lies under one folder, and a trial whose record is there is not run again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from copg.artifacts import GroupWriter, begin, read_groups, read_manifest, seal, write_json
from copg.config import parse_config
from copg.digests import json_digest
from copg.errors import ConfigError
from copg.recipe import Recipe, config_class, stage_settings
from copg.records import SPLITS
from copg.stages.evaluate import evaluate_policy
from copg.stages.reference import reference_groups
from copg.stages.reward import RewardConfig, train_reward
from copg.stages.score import score_groups
from copg.stages.train import train_policy
from copg.stages.validate import validate_records
from copg.training.config import OptimizerConfig
from copg.training.log import read_metrics


@dataclass(frozen=True)
class Trial:
    """One training and how it is watched."""

    method: str
    beta: float
    seed: int = 0
    k: int = 0
    """Completions of a group that are used; 0: all."""
    num_prompts: int = 128
    """Held-out prompts sampled along the way."""
    every_steps: int = 50
    work: int = 1
    """Multiple of the recipe's tokens: K is compared over several passes, to make tokens equal."""

    @property
    def name(self) -> str:
        """Of its record."""
        looks = f"p{self.num_prompts}_e{self.every_steps}"
        return f"{self.method}_{self.beta:g}_k{self.k}_s{self.seed}_{looks}_w{self.work}"


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


def limit_completions(bench: Bench, k: int) -> Path:
    """The referenced groups as if ``k`` completions of each had been logged; 0 leaves them as they are."""
    whole, folder = bench.artifact("referenced"), bench.artifact(f"referenced_k{k}")
    if k == 0 or finished(folder):
        return folder if k else whole
    parent = read_manifest(whole, schema="referenced")
    begin(folder)
    with GroupWriter(folder) as writer:
        for split in SPLITS:
            for group in read_groups(whole, split):
                rng = np.random.default_rng(int(group.id[:12], 16))
                kept = rng.permutation(len(group.completions))[:k]
                if split == "train":
                    group.completions = [group.completions[i] for i in sorted(kept)]
                writer.write(split, group)
    seal(
        folder,
        schema="referenced",
        stage="reference",
        rows=sum(writer.num_groups.values()),
        config={**parent.config, "k": k},
        parents={"referenced": parent.digest},
        facts=parent.facts,
    )
    return folder


def count_tokens(referenced: Path) -> tuple[int, int]:
    """Tokens of one pass over the train split, each prompt once a group; and the number of groups."""
    total = num_groups = 0
    for group in read_groups(referenced, "train"):
        total += len(group.prompt_ids or []) + sum(len(c.token_ids or []) for c in group.completions)
        num_groups += 1
    return total, num_groups


def equal_work(bench: Bench, trial: Trial, referenced: Path) -> dict[str, int]:
    """Epochs and groups a step that cost the tokens and the steps of the recipe on all completions."""
    train = bench.config("train", trial={"method": "copg", "beta": 1.0})
    whole, num_whole = count_tokens(bench.artifact("referenced"))
    own, num_own = count_tokens(referenced)
    epochs = max(1, round(train.epochs * trial.work * whole / own))
    steps = train.epochs * trial.work * -(-num_whole // train.groups_per_step)
    return {"epochs": epochs, "groups_per_step": max(1, round(epochs * num_own / steps))}


def run_trial(bench: Bench, trial: Trial) -> dict:
    """Train, evaluate, and keep what figures need; weights are deleted.

    Returns:
        The trial's settings, ``curve`` (step, reward, its standard error over prompts, kl), ``select`` and
        ``gate`` evaluations, ``rewards`` of each prompt of the gate split by its id, tokens trained on.
    """
    record = bench.out / "runs" / f"{trial.name}.json"
    if record.exists():
        return json.loads(record.read_text())
    work = bench.out / "work" / trial.name
    shutil.rmtree(work, ignore_errors=True)
    referenced = limit_completions(bench, trial.k)
    size = equal_work(bench, trial, referenced)
    config = bench.config(
        "train",
        trial={"method": trial.method, "beta": trial.beta, "seed": trial.seed},
        # The curve of a collapse is a result here, so nothing stops it.
        samples={"num_prompts": trial.num_prompts, "every_steps": trial.every_steps, "collapse_spreads": 0.0},
        tracking={"uri": None},
        **size,
    )
    train_policy(config, referenced, work / "policy", work / "training")
    folder = work / "evaluation"
    evaluate_policy(bench.config("evaluate"), bench.artifact(bench.scored), folder, policy=work / "policy")
    facts = json.loads((work / "training" / "manifest.json").read_text())["facts"]
    found = {
        **asdict(trial),
        "diverged": facts["diverged"],
        "steps": facts["steps"],
        "tokens": size["epochs"] * count_tokens(referenced)[0],
        "curve": _curve(
            work / "training" / "metrics.jsonl", min(trial.num_prompts, _count_select(referenced))
        ),
        **json.loads((folder / "evaluation.json").read_text()),
        "rewards": _prompt_rewards(folder / "generations.parquet"),
    }
    record.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, found)
    shutil.rmtree(work)
    return found


def _count_select(referenced: Path) -> int:
    return sum(1 for _ in read_groups(referenced, "select"))


def _curve(path: Path, num_prompts: int) -> dict[str, list[float]]:
    lines = [line for line in read_metrics(path) if line.get("reward/mean") is not None]
    return {
        "step": [line["step"] for line in lines],
        "reward": [line["reward/mean"] for line in lines],
        "reward_se": [line["reward/std"] / num_prompts**0.5 for line in lines],
        "kl": [line["kl/mean"] for line in lines],
    }


def _prompt_rewards(path: Path) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in pq.read_table(path, columns=["split", "id", "reward"]).to_pylist():
        if row["split"] == "gate":
            found.setdefault(row["id"], []).append(row["reward"])
    return {id_: float(np.mean(rewards)) for id_, rewards in sorted(found.items())}
