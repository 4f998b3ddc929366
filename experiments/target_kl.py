"""Whether a trial by distance goes as far as it was asked to, over three seeds of a recipe's own data.

    python -m experiments.target_kl --recipe RECIPE --out DIR [--kl 1]

trains ``beta: {kl: 1}`` with each seed: a pilot finds beta, the trial is trained, and the KL of what it draws
for the gate prompts is held against the target, of which it should miss no more than a fifth. A target
beyond what the logs support is refused, which is a result as well. A pilot with its trial and an evaluation
are a unit each; ``--units N`` does N of them, and a second call goes on where the first stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from copg.artifacts import write_json
from experiments.bench import Bench
from experiments.crossed import over_seeds
from experiments.policies import Ground, measured, open_ground, read_line, trained
from experiments.units import Enough, Units, bench_and_units, unit_parser

SEEDS = (0, 1, 2)
MISSED = 0.2
"""Share of the target by which the KL may miss it."""


def run(bench: Bench, units: Units, *, kl: float, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Train and measure what is not there yet.

    Returns:
        What ``target_kl_NATS.json`` holds: a row a seed, and ``missing``, the next unit, empty where all is
        there.
    """
    rows, missing = [], ""
    try:
        ground = open_ground(bench, units)
        for seed in seeds:
            rows.append(_row(ground, kl, seed))
    except Enough as next_unit:
        missing = str(next_unit)
    result = {"task": bench.recipe.name, "target": kl, "rows": rows, "missing": missing}
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(bench.out / f"target_kl_{kl:g}.json", result)
    return result


def _row(ground: Ground, kl: float, seed: int) -> dict[str, Any]:
    name = f"kl{kl:g}_s{seed}"
    trial = {"method": "copg", "beta": {"kl": kl}, "seed": seed}

    def training() -> dict[str, Any]:
        return trained(ground, name, trial)

    record, begun = measured(ground, name, "gate", training=training), training()
    row = {"seed": seed, "failed": record["failed"]}
    if record["failed"]:
        return row
    (place,) = read_line(record["lines"]["reward"])
    return {
        **row,
        "beta": begun["beta"],
        "pilot": begun["pilot"],
        "kl": asdict(over_seeds(place.kls[None])),
        "within": abs(place.kl - kl) <= MISSED * kl,
        "seconds": begun["seconds"],
    }


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(f"{result['task']}: asked for {result['target']:g} nats, gate split")
    for row in result["rows"]:
        if row["failed"]:
            print(f"seed {row['seed']}: failed: {row['failed']}")
            continue
        kl, pilot = row["kl"], row["pilot"]
        told = "within a fifth" if row["within"] else "misses it by more than a fifth"
        print(
            f"seed {row['seed']}: {kl['mean']:.3f} nats [{kl['low']:.3f}, {kl['high']:.3f}], {told}; ladder "
            f"beta={pilot['predicted_beta']:.3g}, a pilot of {pilot['steps']:.0f} steps took "
            f"{pilot['seconds']:.0f} of {row['seconds']:.0f} s: beta={row['beta']:g}"
        )
    if result["missing"]:
        print(f"missing: next {result['missing']}")


def main() -> None:
    """The command."""
    parser = unit_parser(__doc__)
    parser.add_argument("--kl", type=float, default=1.0, help="nats to go; %(default)s")
    args = parser.parse_args()
    show(run(*bench_and_units(args), kl=args.kl))


if __name__ == "__main__":
    main()
