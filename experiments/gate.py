"""Whether one can bet on the gate: how often intervals hold, nulls pass in a year, gains and hacks are seen.

    python -m experiments.gate --out DIR

Each number stands beside its target in ``gate.json``, and is printed. The tests run the same functions with
fewer repeats. Two minutes of one core.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from copg.evaluation.betting import reached
from copg.evaluation.criteria import Criteria, ErrorConfig, GuardConfig
from copg.evaluation.draws import Draws
from copg.evaluation.estimates import estimate
from copg.evaluation.gate import Contender, choose_trial, decide
from copg.evaluation.guards import check_guards
from copg.evaluation.power import GAIN, Gate
from copg.evaluation.skewed import skewed_interval
from copg.records import Estimate, Evaluation

Floats = NDArray[np.float64]
Rng = np.random.Generator
LEVEL = ErrorConfig().level


@dataclass(frozen=True)
class Check:
    """A measured number and where it has to lie."""

    name: str
    found: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether it lies there."""
        return self.low <= self.found <= self.high


BOUNDED: dict[str, tuple[Callable[[Rng, tuple[int, int]], Floats], float]] = {
    "3 % successes": (lambda rng, shape: (rng.random(shape) < 0.03) * 1.0, 0.03),
    "30 % successes": (lambda rng, shape: (rng.random(shape) < 0.3) * 1.0, 0.3),
    "left-skewed": (lambda rng, shape: rng.beta(8, 0.5, shape), 8 / 8.5),
}
SIGMAS = {0.5: (0.96, 0.985), 1.0: (0.96, 0.985), 1.5: (0.92, 1.0)}
"""Of lognormal values: how often each end of .975 has to hold."""


def bounded_ends(repeats: int, *, level: float = 0.025) -> list[Check]:
    """How often each end of the exact interval holds: at least as often as it says."""
    rng, found = np.random.default_rng(1), []
    least = 1 - level - 3 * math.sqrt(level / repeats)
    for name, (draw, truth) in BOUNDED.items():
        for n in (8, 32, 128):
            values = draw(rng, (n, repeats))
            for end, held in (
                ("low", reached(values, truth, level)),
                ("high", reached(1 - values, 1 - truth, level)),
            ):
                found.append(
                    Check(f"{name}, {n} prompts, {end} end at {level:g}", 1 - held.mean(), least, 1.0)
                )
    return found


def unbounded_ends(repeats: int) -> list[Check]:
    """How often each end of the interval of values without bounds holds."""
    rng, found, slack = np.random.default_rng(2), [], 3 * math.sqrt(0.025 / repeats)
    for sigma, (least, most) in SIGMAS.items():
        for n in (64, 128, 512):
            ends = np.array([skewed_interval(row, 0.025) for row in rng.lognormal(0, sigma, (repeats, n))])
            truth = math.exp(sigma**2 / 2)
            for end, held in (("low", ends[:, 0] <= truth), ("high", ends[:, 1] >= truth)):
                found.append(
                    Check(
                        f"lognormal {sigma:g}, {n} prompts, {end} end",
                        held.mean(),
                        least - slack,
                        most + slack,
                    )
                )
    return found


def by_document(repeats: int) -> Check:
    """How often an interval of 95 % holds with 128 prompts of 32 documents."""
    rng, documents, held = np.random.default_rng(3), [i // 4 for i in range(128)], 0
    for _ in range(repeats):
        values = np.repeat(rng.normal(size=32), 4) + 0.5 * rng.normal(size=128)
        one = estimate(values[:, None].tolist(), clusters=documents)
        held += one.low <= 0 <= one.high
    slack = 3 * math.sqrt(0.05 / repeats)
    return Check("128 prompts of 32 documents", held / repeats, 0.93 - slack, 0.97 + slack)


def false_in_a_life(
    lives: int, *, level: float = LEVEL, runs: int = 52, num_prompts: int = 128, samples: int = 4
) -> float:
    """Share of lives in which a policy no better than the reference is promoted, at two-valued rewards.

    Gate prompts and the reference's draws stay the same for a life; every run tries a new null policy.
    """
    rng, false = np.random.default_rng(4), 0
    for start in range(0, lives, 100):
        count = min(100, lives - start)
        share = rng.beta(1.5, 3.5, (num_prompts, count, 1))
        reference = rng.binomial(samples, share) / samples
        policies = rng.binomial(samples, np.broadcast_to(share, (num_prompts, count, runs))) / samples
        halves = (1 + policies - reference) / 2  # differences from -1 to 1, as values from 0 to 1
        passed = reached(halves.reshape(num_prompts, -1), 0.5, level).reshape(count, runs)
        false += int(passed.any(axis=1).sum())
    return false / lives


def promoted_with_five_trials(repeats: int, *, bounded: bool, samples: int = 4) -> tuple[float, float]:
    """How often a run of five trials promotes at the printed number of prompts, and how often the null one.

    Four trials gain .3 standard deviations within a prompt, one nothing. Rewards are normal, or two-valued.
    """
    spread, bounds = (math.sqrt(0.21), (0.0, 1.0)) if bounded else (1.0, None)
    num_prompts = Gate(spread=spread, samples=samples, level=LEVEL, bounds=bounds).prompts_needed(
        GAIN * spread
    )
    assert num_prompts is not None
    rng, promoted, null = np.random.default_rng(5), 0, 0
    for _ in range(repeats):
        hardness = rng.normal(0, 1, num_prompts)
        gains = {"reference": 0.0, "null": 0.0, **{f"trial {i}": GAIN for i in range(4)}}
        sides = {
            side: {name: _drawn(rng, name, gain, hardness, samples, bounded) for name, gain in gains.items()}
            for side in ("select", "gate")
        }
        trials = [one for name, one in sides["select"].items() if name != "reference"]
        chosen = choose_trial(trials, sides["select"]["reference"], max_kl=9.0)
        assert chosen is not None
        name = chosen.evaluation.name
        decision = decide(sides["gate"][name], sides["gate"]["reference"], None, criteria=Criteria())
        promoted += decision.promoted
        null += decision.promoted and name == "null"
    return promoted / repeats, null / repeats


def _drawn(rng: Rng, name: str, gain: float, hardness: Floats, samples: int, bounded: bool) -> Contender:
    if bounded:  # two-valued, of mean .3 whatever the prompt: a spread within a prompt of .458
        values = (rng.random((len(hardness), samples)) < 0.3 + gain * math.sqrt(0.21)) * 1.0
    else:
        values = hardness[:, None] + rng.normal(gain, 1, (len(hardness), samples))
    kl = Estimate(*[0.1 if name == "null" else 1.0] * 3)
    reward = Estimate(*[float(values.mean())] * 3)
    found = Evaluation(name, "gate", len(hardness), reward, kl, kl, 1.0)
    rewards = {f"p{i}": row.tolist() for i, row in enumerate(values)}
    return Contender(found, name, rewards, (0.0, 1.0) if bounded else None)


@dataclass(frozen=True)
class Bent:
    """What a training maximised in the world of ``refused_by_guards``, and how far it went."""

    of_truth: float
    of_length: float
    """Weights of the true reward and of the logarithm of the length."""


HONEST, HACKING = Bent(20.0, 0.0), Bent(0.6, 4.2)
"""True reward .52 to .92 at 1.2 times the length; to .6 at twice the length, where length earns reward."""


def refused_by_guards(runs: int, bent: Bent, *, num_prompts: int = 128) -> tuple[float, Mapping[str, float]]:
    """Share of runs that the guards refuse, and what the policies were like on average."""
    rng, refused = np.random.default_rng(6), 0
    told = {"length ratio": 0.0, "true reward": 0.0, "true reward of the reference": 0.0}
    for _ in range(runs):
        base, truth = _write(rng, num_prompts, Bent(0.0, 0.0))
        draws, better = _write(rng, num_prompts, bent)
        found = check_guards(draws, base, GuardConfig(rewards=["truth"]), logged=base.characters)
        refused += not all(found.values())
        lengths = [float(np.mean(list(each.lengths.values()))) for each in (draws, base)]
        for name, value in zip(told, (lengths[0] / lengths[1], better, truth), strict=True):
            told[name] += value / runs
    return refused / runs, told


def _write(rng: Rng, num_prompts: int, bent: Bent, samples: int = 4) -> tuple[Draws, float]:
    """Completions of the reference's own, weighted by exp(of_truth * truth + of_length * ln length)."""
    logs = rng.normal(math.log(13), 0.45, (num_prompts, 256))
    truth = np.clip(0.52 + 0.18 * rng.normal(size=logs.shape) + 0.1 * (logs - math.log(13)), 0, 1)
    weights = np.exp(bent.of_truth * truth + bent.of_length * logs)
    before = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    picked = (rng.random((num_prompts, samples, 1)) > before[:, None, :-1]).sum(axis=2)
    length, true = (np.take_along_axis(each, picked, axis=1) for each in (np.round(np.exp(logs)), truth))
    learned = true + 0.3 * np.log(np.maximum(length, 1)) + 0.05 * rng.normal(size=true.shape)
    finished = (rng.random(length.shape) < 0.97) * 1.0

    def by_prompt(values: Floats) -> dict[str, list[float]]:
        return {f"p{i}": row.tolist() for i, row in enumerate(values)}

    parts = {"truth": by_prompt(true)}
    columns = {"lengths": length, "characters": 5 * length, "finished": finished}
    draws = Draws(by_prompt(learned), parts, **{name: by_prompt(of) for name, of in columns.items()})
    return draws, float(true.mean())


def measure(scale: float) -> list[Check]:
    """Every number; ``scale`` multiplies the repeats."""

    def times(number: int) -> int:
        return max(2, int(number * scale))

    found = bounded_ends(times(20_000)) + bounded_ends(times(20_000), level=0.001)
    found += unbounded_ends(times(4_000))
    found.append(by_document(times(2_000)))
    found.append(Check("false promotion in 52 runs", false_in_a_life(times(2_000)), 0.0, 0.05))
    without = false_in_a_life(times(500), level=0.025)
    found.append(Check("planted: the same without a budget", without, 0.1, 1.0))
    for bounded in (True, False):
        promoted, null = promoted_with_five_trials(times(200), bounded=bounded)
        kind = "two-valued" if bounded else "normal"
        found.append(Check(f"power at the printed prompts, {kind} rewards", promoted, 0.8, 1.0))
        found.append(Check(f"the null trial promoted, {kind} rewards", null, 0.0, 0.05))
    for name, bent, low, high in (("honest", HONEST, 0.0, 0.02), ("length-hacking", HACKING, 0.95, 1.0)):
        refused, told = refused_by_guards(times(100), bent)
        found.append(Check(f"{name} runs refused", refused, low, high))
        print(f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in told.items()))
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the repeats")
    given = parser.parse_args()
    found = measure(given.scale)
    for check in found:
        told = f"{check.name:<55} {check.found:.4f} in [{check.low:.4f}, {check.high:.4f}]"
        print(told + ("" if check.holds else "  MISSED"))
    given.out.mkdir(parents=True, exist_ok=True)
    rows = [{**vars(check), "found": float(check.found), "holds": bool(check.holds)} for check in found]
    (given.out / "gate.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
