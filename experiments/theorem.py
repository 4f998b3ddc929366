"""Theorem 1 on a real transformer: from any sampler, CoPG reaches pi*; the others stop elsewhere.

    python -m experiments.theorem --out DIR

trains through the product's own stages ``reference`` and ``train``, and writes DIR/theorem.json,
DIR/theorem.png and a table. Every run is kept under DIR/runs: a second call goes on where the first stopped.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from copg.artifacts import write_json
from copg.lm.load import load_model
from copg.progress import track
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.train import TrainConfig, train_policy
from copg.training.config import CheckpointConfig, MonitorConfig, OptimizerConfig, TrialConfig
from experiments.enumerable import (
    MIXTURES,
    NUM_PROMPTS,
    World,
    build_world,
    completion_probabilities,
    distance,
    write_groups,
    write_reference,
)
from experiments.theorem_figures import draw
from experiments.watch import watch_policy

BETA = 0.5
COMPLETIONS_PER_PROMPT = 512
COMPLETIONS_PER_STEP = 128
EPOCHS = 16
LEARNING_RATE = 1e-3
GROUP_SIZES = (2, 4, 8)
RIVAL_BETAS = {
    "ipo": (0.03, 0.1, 0.3, 1.0),
    "dpo": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    "pg": (BETA,),
    "pg_value": (BETA,),
}
"""Beta of IPO and DPO is per unit of preference: the best by regret counts, and lies inside the grid."""
LOOK_EVERY = 16
"""Steps between two exact regrets along a run."""


def run_trial(
    world: World, out: Path, *, method: str, beta: float, mixture: str, k: int, seed: int, epochs: int
) -> dict:
    """One run from logged groups to a policy: its regret along the way, at the end, and what it says.

    Returns:
        ``steps``, ``regret`` at each of them, ``policy`` [prompts, 31], and what was asked for.
    """
    name = f"{method}_{beta:g}_{mixture}_k{k}_s{seed}_e{epochs}"
    record = out / "runs" / f"{name}.json"
    if record.exists():
        return json.loads(record.read_text())
    work = out / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    referenced = _referenced_groups(world, out, mixture=mixture, k=k, seed=seed)
    config = TrainConfig(
        model=str(out / "model"),
        trial=TrialConfig(method=method, beta=beta, seed=seed),
        epochs=epochs,
        groups_per_step=COMPLETIONS_PER_STEP // k,
        optimizer=OptimizerConfig(learning_rate=LEARNING_RATE, warmup_fraction=0.05, max_grad_norm=10.0),
        samples=MonitorConfig(num_prompts=0),
        checkpoint=CheckpointConfig(folder=str(out / "checkpoints"), every_s=3600),
        threads=1,
    )
    steps, regret = [], []

    def look(step: int, model: Any) -> None:
        if step % LOOK_EVERY == 0:
            steps.append(step)
            regret.append(world.regret(completion_probabilities(model, world.prompts)))

    with watch_policy(look):
        train_policy(config, referenced, work / "policy", work / "training")
    policy = completion_probabilities(load_model(work / "policy"), world.prompts)
    facts = json.loads((work / "training" / "manifest.json").read_text())["facts"]
    found = {
        **{"method": method, "beta": beta, "mixture": mixture, "k": k, "seed": seed},
        "diverged": facts["diverged"],
        "steps": [*steps, facts["steps"]],
        "regret": [*regret, world.regret(policy)],
        "policy": policy.tolist(),
    }
    record.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, found)
    shutil.rmtree(work)
    return found


def _referenced_groups(world: World, out: Path, *, mixture: str, k: int, seed: int) -> Path:
    folder = out / "groups" / f"{mixture}_k{k}_s{seed}"
    if not (folder / "referenced" / "manifest.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        sizes = {"k": k, "completions_per_prompt": COMPLETIONS_PER_PROMPT}
        write_groups(folder / "scored", world, mixture=mixture, seed=seed, **sizes)
        config = ReferenceConfig(model=str(out / "model"), store=str(out / "store"), threads=1)
        reference_groups(config, folder / "scored", folder / "referenced")
    return folder / "referenced"


def open_world(out: Path, *, num_prompts: int = NUM_PROMPTS) -> World:
    """The world of an output folder; its reference model is written the first time."""
    if not (out / "model" / "config.json").exists():
        write_reference(out / "model")
    return build_world(load_model(out / "model"), beta=BETA, num_prompts=num_prompts)


def plan_runs(seeds: int) -> list[dict]:
    """CoPG from every mixture at every K and seed; each rival from every mixture at K = 4, at each beta."""
    runs = [
        {"method": "copg", "beta": BETA, "mixture": mixture, "k": k, "seed": seed}
        for seed in range(seeds)
        for mixture in MIXTURES
        for k in GROUP_SIZES
    ]
    return runs + [
        {"method": method, "beta": beta, "mixture": mixture, "k": 4, "seed": 0}
        for method, betas in RIVAL_BETAS.items()
        for beta in betas
        for mixture in MIXTURES
    ]


def plan_again(runs: list[dict], seeds: int) -> list[dict]:
    """The rivals at their best beta, with the other seeds."""
    best = [run for run in best_betas(runs) if run["method"] != "copg"]
    settings = [{key: run[key] for key in ("method", "beta", "mixture", "k")} for run in best]
    return [{**each, "seed": seed} for each in settings for seed in range(1, seeds)]


def best_betas(runs: list[dict]) -> list[dict]:
    """The runs, of each rival those alone whose beta has the least regret, mean over the mixtures."""
    kept = []
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == method]
        mean = {
            beta: np.mean([run["regret"][-1] for run in own if (run["beta"], run["seed"]) == (beta, 0)])
            for beta in {run["beta"] for run in own}
        }
        best = min(mean, key=lambda beta: mean[beta])
        kept += [run for run in own if run["beta"] == best]
    return kept


def summarise(world: World, runs: list[dict]) -> dict:
    """What theorem.json holds: one row for each method, mixture and K, and how far the optima are apart."""
    initial = world.regret(world.reference)
    rows = []
    for key in dict.fromkeys((r["method"], r["beta"], r["mixture"], r["k"]) for r in runs):
        same = [r for r in runs if (r["method"], r["beta"], r["mixture"], r["k"]) == key]
        final = [r["regret"][-1] / initial for r in same]
        away = [distance(np.array(r["policy"]), world.optimum()) for r in same]
        rows.append(
            {
                **dict(zip(("method", "beta", "mixture", "k"), key, strict=True)),
                "seeds": len(same),
                "regret_fraction": float(np.mean(final)),
                "regret_fraction_max": max(final),
                "distance_to_optimum": float(np.mean(away)),
            }
        )
    copg = [np.array(r["policy"]) for r in runs if r["method"] == "copg"]
    apart = [distance(a, b) for i, a in enumerate(copg) for b in copg[:i]]
    return {
        "beta": world.beta,
        "optimum": {"J": world.objective(world.optimum())},
        "initial_regret": initial,
        "initial_distance": distance(world.reference, world.optimum()),
        "copg_optima_apart": {"mean": float(np.mean(apart)), "max": max(apart)} if apart else None,
        "rows": rows,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results and runs")
    parser.add_argument("--seeds", type=int, default=3, help="of training, data and order")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="over the groups")
    args = parser.parse_args()
    world = open_world(args.out)

    def run_all(plan: list[dict], description: str) -> list[dict]:
        return [run_trial(world, args.out, epochs=args.epochs, **run) for run in track(plan, description)]

    runs = run_all(plan_runs(args.seeds), "theorem, runs")
    runs += run_all(plan_again(runs, args.seeds), "rivals' other seeds, runs")
    result = summarise(world, runs)
    write_json(args.out / "theorem.json", result)
    draw(best_betas(runs), args.out / "theorem", initial=world.regret(world.reference), beta=BETA)
    print("method      beta     mixture   K  regret/initial  TV to pi*")
    for row in result["rows"]:
        print(
            f"{row['method']:<10}{row['beta']:>6g}{row['mixture']:>12}{row['k']:>4}"
            f"{row['regret_fraction']:>16.4f}{row['distance_to_optimum']:>11.4f}"
        )
    print(f"CoPG's optima apart (TV): {result['copg_optima_apart']}")


if __name__ == "__main__":
    main()
