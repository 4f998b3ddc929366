"""Whether the third of the prompts that promises most teaches as much as all of them.

    python -m experiments.data_value --recipe RECIPE --out DIR [--spreads 0.25]

trains CoPG on all training prompts, on ``data: best_third``, and on that third in as many steps as all take,
with three seeds each, and measures reward and KL on the gate split. The third is to match all within .01
reward; its KL is told beside, since a policy that went less far may earn less for that alone, and so is J at
the beta of both. A training and an evaluation are a unit each; ``--units N`` does N of them, and a second
call goes on where the first stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from copg.artifacts import write_json
from experiments.bench import Bench, reward_spread, short
from experiments.crossed import difference, over_seeds
from experiments.places import Place
from experiments.policies import Ground, measured, open_ground, read_line, trained
from experiments.units import Enough, Units, bench_and_units, unit_parser

SEEDS = (0, 1, 2)
SPREADS = 0.25
MATCHES = 0.01
"""Reward units."""
ALL, THIRD, AS_LONG = "all", "best_third", "best_third_as_long"


def run(
    bench: Bench, units: Units, *, spreads: float = SPREADS, seeds: Sequence[int] = SEEDS
) -> dict[str, Any]:
    """Train and measure what is not there yet.

    Args:
        bench: recipe and folder.
        units: records.
        spreads: beta as a multiple of the rewards' spread within a prompt.
        seeds: of the trainings.

    Returns:
        What ``data_value.json`` holds: ``kinds`` by what was trained on, and ``missing``, the next unit,
        empty where all is there.
    """
    kinds: dict[str, Any] = {}
    missing, beta = "", None
    try:
        ground = open_ground(bench, units)
        beta = short(spreads * reward_spread(ground.bench))
        epochs = bench.config("train", trial={"beta": beta}).epochs
        changes = {
            ALL: {"data": "all"},
            THIRD: {"data": "best_third"},
            AS_LONG: {"data": "best_third", "epochs": 3 * epochs},
        }
        whole: list[Place] = []
        for kind, changed in changes.items():
            places, failures, gained = _places(ground, kind, beta, changed, seeds)
            whole = places if kind == ALL else whole
            kinds[kind] = {"failures": failures, "gain_of_best_third": gained, **_told(places, whole, beta)}
    except Enough as next_unit:
        missing = str(next_unit)
    result = {"task": bench.recipe.name, "beta": beta, "kinds": kinds, "missing": missing}
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(bench.out / "data_value.json", result)
    return result


def _places(
    ground: Ground, kind: str, beta: float, changes: Mapping[str, Any], seeds: Sequence[int]
) -> tuple[list[Place], list[str], float | None]:
    """Of the seeds that did not fail; why the others did; the share of the gain that the third promises."""
    places, failures, gained = [], [], None
    for seed in seeds:
        name, trial = f"{kind}_{beta:g}_s{seed}", {"method": "copg", "beta": beta, "seed": seed}

        def training(name: str = name, trial: Mapping[str, Any] = trial) -> dict[str, Any]:
            return trained(ground, name, trial, **changes)

        record = measured(ground, name, "gate", training=training)
        if record["failed"]:
            failures.append(f"{name}: {record['failed']}")
        else:
            places += read_line(record["lines"]["reward"])
            gained = training()["metrics"].get("prompts/gain_of_best_third")
    return places, failures, gained


def _told(places: Sequence[Place], whole: Sequence[Place], beta: float) -> dict[str, Any]:
    """Means over seeds and prompts, and less those of all prompts."""
    if not places:
        return {}
    values = {name: of(places, beta) for name, of in VALUES.items()}
    found: dict[str, Any] = {name: asdict(over_seeds(value)) for name, value in values.items()}
    if whole and whole is not places:
        others = {name: of(whole, beta) for name, of in VALUES.items()}
        found |= {f"{name}_less_all": asdict(difference(values[name], others[name])) for name in VALUES}
        found["matches"] = abs(found["reward_less_all"]["mean"]) <= MATCHES
    return found


VALUES = {
    "reward": lambda places, _: np.stack([place.rewards for place in places]),
    "kl": lambda places, _: np.stack([place.kls for place in places]),
    "J": lambda places, beta: np.stack([place.rewards - beta * place.kls for place in places]),
}


def show(result: Mapping[str, Any]) -> None:
    """The table."""
    if result["beta"] is not None:
        print(f"{result['task']}: CoPG at beta={result['beta']:g}, gate split, over seeds and prompts")
    for kind, found in result["kinds"].items():
        for failure in found["failures"]:
            print(f"failed: {failure}")
        for name in VALUES:
            if name in found:
                print(
                    f"{kind:<20}{name:<8}{_estimate(found[name]):>28}{_estimate(found.get(f'{name}_less_all')):>28}"
                )
        if "matches" in found:
            told = "matches all" if found["matches"] else "does not match all"
            print(f"{kind:<20}{told} within {MATCHES} reward")
    if result["missing"]:
        print(f"missing: next {result['missing']}")


def _estimate(found: Mapping[str, float] | None) -> str:
    return "" if found is None else f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def main() -> None:
    """The command."""
    parser = unit_parser(__doc__)
    parser.add_argument(
        "--spreads", type=float, default=SPREADS, help="beta, in spreads of rewards; %(default)s"
    )
    args = parser.parse_args()
    show(run(*bench_and_units(args), spreads=args.spreads))


if __name__ == "__main__":
    main()
