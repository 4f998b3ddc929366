"""Figures 2 to 6 in small, and what the paper leaves out: KL beside reward, and the number of completions.

    python -m experiments.summarisation --recipe RECIPE [--records FILE] [--model DIR] --out DIR

takes data, model, rewards and sizes from a recipe and trains CoPG, IPO and DPO at every beta of the paper's
grid, then the best of each again with three seeds and more prompts, then CoPG with 2, 4 and all completions
of each prompt at equal tokens. Every run is kept: a second call goes on where the first stopped. With
``--learned-reward`` a Bradley-Terry model, trained on pairs ranked by the recipe's rewards, takes their
place, as in the paper.
"""

import statistics
from dataclasses import replace

from copg.artifacts import write_json
from copg.evaluation.estimates import paired_difference
from copg.evaluation.frontier import Point, frontier
from copg.progress import track
from experiments.bench import (
    Bench,
    bench_of,
    bench_parser,
    evaluate_reference,
    prepare,
    reward_spread,
)
from experiments.summarisation_figures import draw_best, draw_betas, draw_curves
from experiments.trials import Trial, run_trial

GRID = {
    "copg": (0.01, 0.03, 0.06, 0.1, 0.3, 1.0),
    "dpo": (0.01, 0.03, 0.06, 0.1, 0.3, 1.0),
    "ipo": (0.003, 0.01, 0.03, 0.06, 0.1, 0.3),
}
"""The paper's."""
FLOOR = Trial("sft", 1.0)
"""Cross-entropy on the best completion; its beta is not used."""
GROUP_SIZES = (2, 4, 0)
SEEDS = 3
K_WORK = 2
"""Passes over all completions when K is compared."""


def grid_trials(every_steps: int, *, betas: int | None = None) -> list[Trial]:
    """Every method at every beta, one seed, and the floor; ``betas`` keeps the first so many of each grid."""
    return [
        *(Trial(method, beta, every_steps=every_steps) for method in GRID for beta in GRID[method][:betas]),
        replace(FLOOR, every_steps=every_steps),
    ]


def best_trials(runs: list[dict], every_steps: int, *, seeds: int) -> list[Trial]:
    """The beta of each method with the highest reward on the select split, again, with more prompts."""
    found = []
    for method in GRID:
        own = [run for run in runs if run["method"] == method]
        best = max(own, key=lambda run: run["select"]["reward"]["mean"])
        found += [
            Trial(method, best["beta"], seed=seed, num_prompts=1024, every_steps=2 * every_steps)
            for seed in range(seeds)
        ]
    return found


def k_trials(best: list[Trial], every_steps: int, *, seeds: int) -> list[Trial]:
    """CoPG at its best beta on K completions of each prompt, at equal tokens and steps."""
    beta = next(trial.beta for trial in best if trial.method == "copg")
    return [
        Trial("copg", beta, seed=seed, k=k, work=K_WORK, every_steps=2 * every_steps)
        for k in GROUP_SIZES
        for seed in range(seeds)
    ]


def summarise(reference: dict, spread: float, grid: list[dict], best: list[dict], by_k: list[dict]) -> dict:
    """What summarisation.json holds: one row a run, frontiers, and the claims with what they rest on."""
    names = ("method", "beta", "k", "seed", "steps", "tokens", "diverged")
    rows = [
        {
            **{name: run[name] for name in names},
            "part": part,
            "reward": run["gate"]["reward"],
            "kl": run["gate"]["kl"],
            "select_reward": run["select"]["reward"]["mean"],
        }
        for part, runs in (("grid", grid), ("best", best), ("k", by_k))
        for run in runs
    ]
    start = reference["gate"]["reward"]["mean"]
    return {
        "reference": reference,
        "reward_spread": spread,
        "rows": rows,
        "frontiers": {
            method: [vars_of(p) for p in frontier(_points(grid, method), reference_reward=start)]
            for method in GRID
        },
        "differences": [
            _difference(best, *pair) for pair in (("copg", "ipo"), ("ipo", "dpo"), ("copg", "dpo"))
        ],
        "k": {str(k or "all"): _over_seeds([run for run in by_k if run["k"] == k]) for k in GROUP_SIZES},
    }


def vars_of(point: Point) -> dict:
    """A point of a frontier as plain values."""
    return {"name": point.name, "kl": point.kl, "reward": point.reward}


def _points(runs: list[dict], method: str) -> list[Point]:
    return [
        Point(f"{run['beta']:g}", run["gate"]["kl"]["mean"], run["gate"]["reward"]["mean"])
        for run in runs
        if run["method"] == method
    ]


def _difference(runs: list[dict], first: str, second: str) -> dict:
    """Reward of one method minus another's on the same prompts, seed by seed; a claim must hold in each."""
    seeds = []
    for seed in sorted({run["seed"] for run in runs}):
        one, other = (
            next(run for run in runs if (run["method"], run["seed"]) == (method, seed))["rewards"]
            for method in (first, second)
        )
        found = paired_difference([[one[id_]] for id_ in one], [[other[id_]] for id_ in one])
        seeds.append({"seed": seed, "mean": found.mean, "low": found.low, "high": found.high})
    signs = {1 if s["low"] > 0 else -1 if s["high"] < 0 else 0 for s in seeds}
    return {
        "first": first,
        "second": second,
        "seeds": seeds,
        "sign_in_every_seed": signs.pop() if len(signs) == 1 else 0,
    }


def _over_seeds(runs: list[dict]) -> dict:
    rewards = [run["gate"]["reward"]["mean"] for run in runs]
    return {
        "reward_mean": statistics.fmean(rewards),
        "reward_min": min(rewards),
        "reward_max": max(rewards),
        "kl_mean": statistics.fmean(run["gate"]["kl"]["mean"] for run in runs),
        "tokens": statistics.fmean(run["tokens"] for run in runs),
    }


def run(bench: Bench, *, every_steps: int, seeds: int, betas: int | None, learned_reward: bool) -> dict:
    """All trials, the figures, and summarisation.json."""
    bench = prepare(bench, learned_reward=learned_reward)
    reference = evaluate_reference(bench)
    plan = grid_trials(every_steps, betas=betas)
    grid = [run_trial(bench, trial) for trial in track(plan, "grid, runs")]
    again = best_trials(grid, every_steps, seeds=seeds)
    best = [run_trial(bench, trial) for trial in track(again, "best of each, runs")]
    sizes = k_trials(again, every_steps, seeds=seeds)
    by_k = [run_trial(bench, trial) for trial in track(sizes, "completions a prompt, runs")]
    result = summarise(reference, reward_spread(bench), grid, best, by_k)
    write_json(bench.out / "summarisation.json", result)
    draw_curves(grid, bench.out / "curves")
    draw_betas(grid, reference, bench.out / "betas")
    draw_best(best, by_k, bench.out / "best")
    return result


def main() -> None:
    """The command."""
    parser = bench_parser(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--every-steps", type=int, default=50, help="between two looks at the reward")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="for the best of each method, and for K")
    parser.add_argument("--betas", type=int, help="only so many of each grid")
    parser.add_argument("--learned-reward", action="store_true", help="a Bradley-Terry model is the reward")
    args = parser.parse_args()
    result = run(
        bench_of(args, device=args.device),
        every_steps=args.every_steps,
        seeds=args.seeds,
        betas=args.betas,
        learned_reward=args.learned_reward,
    )
    show(result)


def show(result: dict) -> None:
    """The table."""
    reference = result["reference"]["gate"]["reward"]
    print(f"reference: reward {reference['mean']:.4f} [{reference['low']:.4f}, {reference['high']:.4f}]")
    print(f"rewards of a prompt spread by {result['reward_spread']:.4f}: beta means something beside it")
    print("part  method     beta    K  seed   reward       95 % interval  KL (nats)")
    for row in result["rows"]:
        reward, k = row["reward"], row["k"] or "all"
        interval = f"[{reward['low']:.4f}, {reward['high']:.4f}]"
        print(
            f"{row['part']:<6}{row['method']:<8}{row['beta']:>7g}{k:>5}{row['seed']:>6}"
            f"{reward['mean']:>9.4f}{interval:>20}{row['kl']['mean']:>11.3f}"
        )
    for claim in result["differences"]:
        seeds = [round(seed["mean"], 4) for seed in claim["seeds"]]
        print(f"{claim['first']} - {claim['second']}: {seeds}, sign {claim['sign_in_every_seed']}")


if __name__ == "__main__":
    main()
