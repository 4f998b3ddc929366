"""Whether the frontier of one training is as good as that of six: mixes and trained trials at equal KL.

    python -m experiments.frontier --recipe RECIPE [--records FILE] [--model DIR] --out DIR

trains six trials by the pull to the reference, and one whose mixes with the reference (``evaluate.mixes``)
take their place: scaled adapters where the recipe trains adapters, else mixed logits. All are evaluated on
the same prompts with the same noise, the reference and its best of n among them. ``frontier.json`` has each
trial beside the mixes at its own KL: the difference of rewards with its standard error over prompts, which
includes that of both KLs, and the number of completions drawn. A second call goes on where the first stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from copg.artifacts import write_json
from copg.evaluation.best_of import best_of
from copg.evaluation.draws import mix_folder, read_draws
from copg.progress import track
from copg.stages.evaluate import evaluate_policy
from copg.stages.train import train_policy
from experiments.bench import Bench, bench_of, bench_parser, finished, prepare
from experiments.places import Place, along, read_place, root_missed

BETAS = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07)
"""Of the trained trials, reward units per nat; on the demo they go 2 nats at most."""
MIXED_BETA = 0.05
WEIGHTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
FARTHEST = 2.0
"""Nats up to which the two are compared."""
BELOW, ERROR = 0.02, 0.005
"""Reward units: how far below a trained trial a mix may lie, and the standard error that may take."""


@dataclass(frozen=True)
class Row:
    """A trained trial beside the mixes at its KL."""

    name: str
    kl: float
    reward: float
    mixed: float
    """Reward of the mixes there, between the nearest two."""
    difference: float
    """Mixed less trained, reward units."""
    error: float
    """Standard error of the difference, paired by prompt."""

    @property
    def holds(self) -> bool:
        """Whether it is no more than ``BELOW`` below, told to within ``ERROR``."""
        return self.difference >= -BELOW and self.error <= ERROR


def compare(line: Sequence[Place], trial: Place) -> Row | None:
    """A trial beside a line of places at equal KL; None where the line does not reach so far.

    The trial's KL is an estimate as those of the line are: what it misses moves the spot on the line.

    Args:
        line: in any order; the nearest at a KL of 0.
        trial: on the same prompts.
    """
    spot = along(line, trial.kl)
    if spot is None:
        return None
    each = spot.rewards - trial.rewards + spot.slope * root_missed(trial)
    error = float(each.std(ddof=1) / len(each) ** 0.5)
    mixed = float(spot.rewards.mean())
    return Row(trial.name, trial.kl, trial.reward, mixed, mixed - trial.reward, error)


def evaluated(bench: Bench, beta: float | None, mixes: Sequence[float], *, samples: int) -> Path:
    """The evaluation of a trial, trained where it was not yet; of None, of the reference.

    Other draws or mixes are another evaluation of the same training.
    """
    name = "reference" if beta is None else f"copg_{beta:g}"
    work = bench.out / "runs" / name
    evaluation = work / "_".join(["evaluation", str(samples), *(f"{weight:g}" for weight in mixes)])
    if not finished(evaluation):
        policy = None if beta is None else work / "policy"
        if policy and not (finished(policy) and finished(work / "training")):
            config = bench.config("train", trial={"method": "copg", "beta": beta}, tracking={"uri": None})
            train_policy(config, bench.artifact("referenced"), policy, work / "training")
        config = bench.config("evaluate", mixes=list(mixes), samples_per_prompt=samples)
        evaluate_policy(config, bench.artifact(bench.scored), evaluation, policy=policy)
    return evaluation


def run(
    bench: Bench, *, betas: Sequence[float], mixed_beta: float, weights: Sequence[float], samples: int
) -> dict:
    """Train, evaluate and compare all that is not there yet.

    Returns:
        ``rows``, one a trained trial up to ``FARTHEST``; ``line``, the mixes; ``best_of``; ``draws``.
    """
    prepare(bench)
    base = evaluated(bench, None, (), samples=samples)
    mixed = evaluated(bench, mixed_beta, weights, samples=samples)
    line = [read_place("reference", base), read_place("x 1", mixed)]
    line += [read_place(f"x {weight:g}", mix_folder(mixed, weight)) for weight in weights]
    rows = []
    for beta in track(list(betas), "trials"):
        folder = evaluated(bench, beta, (), samples=samples)
        rows.append(compare(line, read_place(f"copg_{beta:g}", folder)))
    told = [row for row in rows if row is not None and row.kl <= FARTHEST]
    drawn = read_draws(base, "gate").rewards
    found = {
        "betas": list(betas),
        "mixed_beta": mixed_beta,
        "draws": {"prompts": len(drawn), "completions": sum(map(len, drawn.values()))},
        "line": [{"name": p.name, "kl": p.kl, "reward": p.reward} for p in line],
        "best_of": [asdict(each) for each in best_of(drawn)],
        "rows": [{**asdict(row), "holds": row.holds} for row in told],
    }
    write_json(bench.out / "frontier.json", found)
    return found


def show(found: dict) -> None:
    """The table."""
    draws = found["draws"]
    print(f"{draws['completions']} completions of {draws['prompts']} prompts for each policy")
    for point in sorted(found["line"], key=lambda each: each["kl"]):
        print(f"{point['name']:<12}{point['kl']:>8.3f} nats  reward {point['reward']:.4f}")
    for best in found["best_of"]:
        name, reward = f"best of {best['num_drawn']}", best["reward"]["mean"]
        print(f"{name:<12}{best['kl_bound']:>8.3f} nats  reward {reward:.4f}")
    print("trial            KL   trained   mixed   difference   standard error")
    for row in found["rows"]:
        print(
            f"{row['name']:<12}{row['kl']:>7.3f}{row['reward']:>10.4f}{row['mixed']:>8.4f}"
            f"{row['difference']:>+13.4f}{row['error']:>17.4f}{'' if row['holds'] else '  outside'}"
        )


def main() -> None:
    """The command."""
    parser = bench_parser(__doc__)
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS, help="of the trained trials")
    parser.add_argument("--mixed-beta", type=float, default=MIXED_BETA, help="of the one that is mixed")
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of its mixes")
    parser.add_argument("--samples", type=int, default=8, help="completions a prompt")
    args = parser.parse_args()
    sizes = {"betas": args.betas, "mixed_beta": args.mixed_beta, "weights": args.weights}
    show(run(bench_of(args, device="cpu"), samples=args.samples, **sizes))


if __name__ == "__main__":
    main()
