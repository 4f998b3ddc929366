"""Methods at equal KL: what each earns where all of them went as far from the reference.

    python -m examples.smollm2 --out runs/smollm2/data/model
    python -m examples.readings --out runs/smollm2/data/prompts.jsonl
    python -m experiments.equal_kl --recipe experiments/recipes/smollm2_readings.yaml --out DIR [--units 1]

trains CoPG, RPO, A*-PO, QRPO, DPO, IPO and SFT on the same logs: four settings a method with one seed, the
best of them again with three seeds that were not tuned on. Best-of-n of the reference stands beside them.

How far a policy goes is a matter of beta, rate and steps, and means something else for every method, so none
is compared as it was trained. Each is moved towards its reference, and a little beyond itself, without
training (``evaluate.mixes``: its adapter counts more or less; of all weights the logits are mixed), which
gives a line of rewards by KL through the reference; at a KL between two places of it, the line is straight
in the root of the KL. A policy trained for just that KL may earn more than its mix: by at most .03 spreads
where that could be counted out (``experiments.frontier_exact``), and every method has the same loss of it,
with two betas among its settings. A KL that a line does not reach is not filled in: the table says so.

A setting is chosen on the select split, by the mean over the KLs of what its line earns at up to so many
nats; the gate split is seen by the chosen ones alone. Best-of-n stands at the bound of its KL,
log n - (n - 1) / n, which is more than its KL where completions tie. Intervals are over training seeds and
prompts (``experiments.crossed``). J = reward - beta KL, at the beta of CoPG's chosen setting or
``--report-beta``, is told where the select split says that it is highest, as trained beside it, and the gain
over the reference as a share of what the logs predict.

``--learned-reward`` trains a Bradley-Terry model on pairs ranked by the recipe's rewards; policies are
trained and chosen by it, and the recipe's own rewards stand beside it as the true ones.

Every training and every evaluation is a unit whose record is kept; ``--units N`` does N of them, and a second
call goes on where the first stopped, within a training as well. A unit that failed is a result, and is shown;
``--retry`` does it again. ``equal_kl.json`` and the figure tell what there is by now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from copg.artifacts import write_json
from copg.losses.units import has_reward_units
from experiments.bench import Bench, reward_spread, short
from experiments.equal_kl_figures import draw
from experiments.equal_kl_results import Method, Scale, reference_of, summarise
from experiments.equal_kl_table import show
from experiments.policies import Ground, measured, open_ground, read_line, trained
from experiments.units import Enough, Units, bench_and_units, unit_parser

METHODS = ("copg", "rpo", "astar_po", "qrpo", "dpo", "ipo", "sft")
SPREADS = (0.25, 1.0)
"""Betas in reward units, as multiples of the rewards' spread within a prompt."""
BETAS = {"qrpo": (0.07, 0.3), "dpo": (0.1, 0.3), "ipo": (0.03, 0.1)}
"""Of methods whose beta is in other units: quantiles, whose spread is .29, or preferences."""
RATES = (0.5, 2.0)
"""Multiples of the recipe's learning rate, with each beta."""
RATES_WITHOUT_BETA = (0.25, 0.5, 1.0, 2.0)
TUNED_ON = 0
SEEDS = (1, 2, 3)
KLS = (0.25, 0.5, 1.0, 1.5)
"""Nats a completion."""
WEIGHTS = (0.35, 0.7, 1.4)
BEST_OF = 16


@dataclass(frozen=True)
class Setting:
    """One way to train by a method."""

    method: str
    beta: float
    learning_rate: float

    def name(self, seed: int) -> str:
        """Of the policy that a seed makes of it."""
        return f"{self.method}_{self.beta:g}_{self.learning_rate:g}_s{seed}"

    def trial(self, seed: int) -> dict[str, Any]:
        """As a recipe has it."""
        return {
            "method": self.method,
            "beta": self.beta,
            "learning_rate": self.learning_rate,
            "seed": seed,
        }


Settings = Callable[[str, float, float], Sequence[Setting]]


def four_settings(method: str, spread: float, rate: float) -> list[Setting]:
    """The settings that a method is tuned over: as many for each.

    Args:
        method: its name.
        spread: of the rewards within a prompt, reward units.
        rate: the recipe's learning rate.
    """
    if method == "sft":
        return [Setting(method, 1.0, short(factor * rate)) for factor in RATES_WITHOUT_BETA]
    betas = [short(factor * spread) for factor in SPREADS]
    return [
        Setting(method, beta, short(factor * rate)) for beta in BETAS.get(method, betas) for factor in RATES
    ]


@dataclass(frozen=True)
class Plan:
    """What is compared, and where."""

    methods: Sequence[str] = METHODS
    seeds: Sequence[int] = SEEDS
    kls: Sequence[float] = KLS
    weights: Sequence[float] = WEIGHTS
    best_of: int = BEST_OF
    settings: Settings = four_settings
    report_beta: float | None = None
    only: Sequence[str] = METHODS
    """Methods to go on with; of the others it is told what there is."""


def _of_method(ground: Ground, plan: Plan, method: str, spread: float) -> Method:
    """All records of a method, made where they are not there.

    Raises:
        Enough: one is missing, and no more are to be made.
    """
    rate = ground.bench.config("train", trial={"beta": 1.0}).optimizer.learning_rate
    scale = Scale(reference_of(ground, "select", plan.best_of), plan.kls)

    def record(setting: Setting, seed: int, split: str) -> dict[str, Any]:
        name = setting.name(seed)

        def training() -> dict[str, Any]:
            return trained(ground, name, setting.trial(seed))

        return measured(ground, name, split, weights=plan.weights, training=training)

    settings = list(plan.settings(method, spread, rate))
    tuned = [record(setting, TUNED_ON, "select") for setting in settings]
    scores = [None if each["failed"] else scale.score(read_line(each["lines"]["reward"])) for each in tuned]
    able = [i for i, score in enumerate(scores) if score is not None]
    if not able:
        return Method(method, settings, tuned, scores, None, [])
    best = max(able, key=lambda i: scores[i] or 0.0)
    found = [record(settings[best], seed, "gate") for seed in plan.seeds]
    return Method(method, settings, tuned, scores, best, found)


def run(bench: Bench, units: Units, plan: Plan, *, learned_reward: bool = False) -> dict[str, Any]:
    """Do the units that are asked for, and tell what there is by now.

    Returns:
        What ``equal_kl.json`` holds; ``missing`` names the next unit of what is not there yet.
    """
    try:
        ground = open_ground(bench, units, learned_reward=learned_reward, samples=plan.best_of)
    except Enough as next_unit:
        return {"missing": {"data": str(next_unit)}}
    bench, spread = ground.bench, reward_spread(ground.bench)
    found, missing = [], {}
    for method in plan.methods:
        mine = ground if method in plan.only else replace(ground, units=units.read_only)
        try:
            found.append(_of_method(mine, plan, method, spread))
        except Enough as next_unit:
            missing[method] = str(next_unit)
    result = summarise(ground, plan.kls, plan.best_of, found, beta=_price(plan, bench, found))
    result |= {"missing": missing, "seconds": units.seconds()}
    write_json(bench.out / "equal_kl.json", result)
    draw(result, bench.out / "equal_kl")
    return result


def _price(plan: Plan, bench: Bench, found: Sequence[Method]) -> float | None:
    """The beta of J, reward units per nat: as asked for, else CoPG's, else of another in reward units."""
    if given := plan.report_beta or bench.recipe.report_beta:
        return given
    able = [m for m in found if m.chosen is not None and has_reward_units(m.name)]
    return able[0].settings[able[0].chosen].beta if able and able[0].chosen is not None else None


def main() -> None:
    """The command."""
    parser = unit_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, help="methods to go on with")
    parser.add_argument("--learned-reward", action="store_true", help="a Bradley-Terry model is the reward")
    parser.add_argument("--report-beta", type=float, help="of J, reward units per nat")
    parser.add_argument("--kls", type=float, nargs="+", default=KLS, help="nats; %(default)s")
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of mixes; %(default)s")
    args = parser.parse_args()
    plan = Plan(kls=args.kls, weights=args.weights, report_beta=args.report_beta, only=args.only)
    show(run(*bench_and_units(args), plan, learned_reward=args.learned_reward))


if __name__ == "__main__":
    main()
