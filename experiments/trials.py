"""Trials of a comparison: each trained and evaluated once; one whose record is there is not run again."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from copg.artifacts import begin, read_manifest, seal, write_json
from copg.data.group_files import GroupWriter, read_groups
from copg.records import SPLITS
from copg.stages.evaluate import evaluate_policy
from copg.stages.train import train_policy
from copg.training.log import read_metrics
from experiments.bench import Bench, finished


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
    steps = train.epochs * trial.work * -(-num_whole // train.step_size(num_whole))
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
