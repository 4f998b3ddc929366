"""Which defaults of a training are good: rate, clip, warm-up, step and passes, one changed at a time.

    python -m experiments.sweep --recipe pipelines/recipes/demo.yaml --out DIR/demo
    python -m experiments.sweep --recipe pipelines/recipes/tiny-llama_scitldr_cpu.yaml --out DIR/scitldr
    python -m experiments.sweep --recipe experiments/recipes/smollm2_readings.yaml --out DIR/readings
    python -m experiments.sweep --tell DIR/demo DIR/scitldr DIR/readings --out DIR

trains CoPG at one beta, half the spread of the rewards within a prompt, as the recipe has it, and with one of
these changed; with ``--lora`` an adapter where the recipe trains all weights. What counts is J at that
beta on the select split: its gain over the reference, and that as a share of what the logs predict. Every
training and evaluation is a unit as in ``experiments.equal_kl``; ``--units N`` does N of them.
``--tell`` sets tasks side by side, and names for each of them the value whose worst task fares best.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from copg.artifacts import write_json
from copg.run.stage_settings import merged
from copg.training.config import MOST_GROUPS
from experiments.bench import Bench, reward_spread, short
from experiments.crossed import difference
from experiments.policies import (
    Ground,
    measured,
    open_ground,
    predicted_gain,
    read_line,
    reference_place,
    trained,
)
from experiments.units import Enough, Units, bench_and_units, unit_parser

BETA_SPREADS = 0.5
FACTORS: Mapping[str, Sequence[float]] = {
    "rate": (1 / 9, 1 / 3, 3.0, 9.0),
    "clip": (0.01, 0.1, 10.0, 0.0),
    "warmup": (0.0, 0.3),
    "groups": (0.25, 4.0),
    "epochs": (2, 4),
}
"""Multiples of the recipe's rate, clip (a clip of 1 where it follows norms; 0: one that does), groups a step
and passes; warm-up is a share of the steps."""
BASE = "as the recipe has it"
LORA = {"rank": 16, "alpha": 32}


def changes_of(factor: str, value: float, train: Any) -> dict[str, Any]:
    """Settings of ``train`` in which one of these has another value.

    Args:
        factor: key of ``FACTORS``.
        value: one of its values.
        train: the settings as the recipe has them.
    """
    now = train.optimizer
    if factor == "rate":
        return {"optimizer": {"learning_rate": short(value * now.learning_rate)}}
    if factor == "clip":
        return {"optimizer": {"max_grad_norm": value * (now.max_grad_norm or 1.0) or None}}
    if factor == "warmup":
        return {"optimizer": {"warmup_fraction": value}}
    if factor == "groups":
        return {"groups_per_step": max(1, round(value * (train.groups_per_step or MOST_GROUPS)))}
    return {"epochs": int(value) * train.epochs}


def run(
    bench: Bench,
    units: Units,
    *,
    factors: Mapping[str, Sequence[float]] = FACTORS,
    common: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and measure what is not there yet.

    Args:
        bench: recipe and folder.
        units: records.
        factors: values of each of what is changed.
        common: of every training, over the recipe's settings of ``train``.

    Returns:
        What ``sweep.json`` holds: ``rows``, and ``missing``, the next unit, empty where all is there.
    """
    common, rows, missing = common or {}, [], ""
    try:
        ground = open_ground(bench, units)
        beta = short(BETA_SPREADS * reward_spread(ground.bench))
        plan: list[tuple[str, float | None]] = [(BASE, None)]
        plan += [(factor, value) for factor, values in factors.items() for value in values]
        train = bench.config("train", trial={"beta": beta}, **common)
        for factor, value in plan:
            changed = {} if value is None else changes_of(factor, value, train)
            rows.append(_row(ground, beta, factor, value, merged(common, changed)))
    except Enough as next_unit:
        missing = str(next_unit)
    result = {"task": bench.recipe.name, "rows": rows, "missing": missing, "seconds": units.seconds()}
    bench.out.mkdir(parents=True, exist_ok=True)
    write_json(bench.out / "sweep.json", result)
    return result


def _row(
    ground: Ground, beta: float, factor: str, value: float | None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    name = "base" if value is None else f"{factor}_{value:.3g}"
    trial = {"method": "copg", "beta": beta}

    def training() -> dict[str, Any]:
        return trained(ground, name, trial, **changes)

    record, begun = measured(ground, name, "select", training=training), training()
    row = {"factor": factor, "value": value, "beta": beta, "failed": record["failed"]}
    if record["failed"]:
        return row
    (place,) = read_line(record["lines"]["reward"])
    start, predicted = reference_place(ground, "select"), predicted_gain(ground.bench, beta)
    gain = difference((place.rewards - beta * place.kls)[None], start.rewards[None])
    metrics = begun["metrics"]
    return {
        **row,
        "reward": place.reward,
        "kl": place.kl,
        "gain": asdict(gain),
        "share": gain.mean / predicted if predicted else None,
        "residual": metrics.get("residual/last"),
        "clipped": metrics["steps/clipped"] / metrics["steps/done"],
        "steps": metrics["steps/done"],
    }


def tell(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tasks side by side: the share of the predicted gain by factor and value, and which value is safest.

    Returns:
        ``shares`` by factor, value and task; ``safest``, by factor, the value whose lowest share is highest,
        that of the recipe among them. A training that failed counts as one that gained nothing.
    """
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for result in results:
        for row in result["rows"]:
            names = list(FACTORS) if row["value"] is None else [row["factor"]]
            for name in names:
                told = BASE if row["value"] is None else f"{row['value']:.3g}"
                shares.setdefault(name, {}).setdefault(told, {})[result["task"]] = row.get("share") or 0.0
    whole = {
        name: {value: by for value, by in values.items() if len(by) == len(results)}
        for name, values in shares.items()
    }
    safest = {
        name: max(values, key=lambda value: min(values[value].values()))
        for name, values in whole.items()
        if values
    }
    return {"shares": shares, "safest": safest}


def show(result: Mapping[str, Any]) -> None:
    """The table of a task."""
    print(f"{result['task']}: J at beta, select split, one seed")
    print(
        f"{'changed':<22}{'to':>7}{'gain':>26}{'share':>8}{'KL':>7}{'residual':>10}{'clipped':>9}{'steps':>7}"
    )
    for row in result["rows"]:
        value = "" if row["value"] is None else f"{row['value']:.3g}"
        if row["failed"]:
            print(f"{row['factor']:<22}{value:>7}  failed: {row['failed']}")
            continue
        gain = row["gain"]
        told = f"{gain['mean']:.4f} [{gain['low']:.4f}, {gain['high']:.4f}]"
        share, residual = (f"{x:.2f}" if x is not None else "-" for x in (row["share"], row["residual"]))
        print(
            f"{row['factor']:<22}{value:>7}{told:>26}{share:>8}{row['kl']:>7.2f}{residual:>10}"
            f"{row['clipped']:>9.0%}{row['steps']:>7.0f}"
        )
    if result["missing"]:
        print(f"missing: next {result['missing']}")


def show_tasks(found: Mapping[str, Any]) -> None:
    """Tasks side by side."""
    for factor, values in found["shares"].items():
        print(
            f"{factor}: share of the predicted gain; safest: {found['safest'].get(factor, 'not known yet')}"
        )
        for value, by in values.items():
            print(f"  {value:<22}" + "  ".join(f"{task} {share:.2f}" for task, share in by.items()))


def main() -> None:
    """The command."""
    parser = unit_parser(__doc__)
    parser.add_argument("--lora", action="store_true", help="train an adapter")
    parser.add_argument(
        "--only", nargs="+", choices=list(FACTORS), default=list(FACTORS), help="what is changed; %(default)s"
    )
    parser.add_argument("--tell", type=Path, nargs="+", help="folders of tasks to set side by side")
    args = parser.parse_args()
    if args.tell:
        found = tell([json.loads((folder / "sweep.json").read_text()) for folder in args.tell])
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "sweep.json", found)
        show_tasks(found)
    else:
        factors = {name: FACTORS[name] for name in args.only}
        show(run(*bench_and_units(args), factors=factors, common={"lora": LORA} if args.lora else {}))


if __name__ == "__main__":
    main()
