"""Policies as units: one is trained, then measured beside its mixes; what is kept are numbers, no weights."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.evaluation.draws import Draws, mix_folder, read_draws
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.ladder import read_ladder
from copg.rewards.mixture import Mixture
from copg.stages.evaluate import EvaluateConfig, evaluate_policy
from copg.stages.train import train_policy
from experiments.bench import Bench, evaluate_reference, finished, prepare
from experiments.places import Judge, Place, as_measured, read_place
from experiments.units import Units

HELD_OUT = ("select", "gate")
FEWEST = 2
"""Prompts of the split that does not count: an evaluation takes both."""
Line = list[Place]
TRAINED = "x 1"
"""Name of the place of the policy as it was trained, among those of its mixes."""


def true_reward(bench: Bench, rewards: Sequence[Mapping[str, Any]], evaluation: Path) -> Judge:
    """The recipe's own rewards of what was drawn, out of their parts, whatever their weights were there.

    Args:
        bench: of the evaluation.
        rewards: as the recipe weighs them.
        evaluation: artifact that has their scales.
    """
    specs = [parse_config(RewardSpec, each, where="rewards") for each in rewards]
    scales = read_manifest(evaluation, schema="evaluation").facts["scales"]
    mixture = Mixture(specs, {}, {part: Scale(**scale) for part, scale in scales.items()})

    def judge(draws: Draws) -> dict[str, list[float]]:
        found = {}
        for prompt, drawn in draws.rewards.items():
            parts = {spec.part: draws.parts[spec.part][prompt] for spec in specs}
            found[prompt] = mixture.total(parts, [prompt] * len(drawn))
        return found

    return judge


@dataclass(frozen=True)
class Ground:
    """Where policies are trained and measured."""

    bench: Bench
    units: Units
    rewards: Sequence[Mapping[str, Any]]
    """The true ones, as the recipe weighs them."""

    @property
    def learned(self) -> bool:
        """Whether what is maximised is a learned reward, so that the true one stands beside it."""
        return self.bench.recipe.rewards != list(self.rewards)

    def judges(self, evaluation: Path) -> dict[str, Judge]:
        """What counts as reward: what is maximised, and the true one where that is another."""
        true = {"true": true_reward(self.bench, self.rewards, evaluation)} if self.learned else {}
        return {"reward": as_measured, **true}


def open_ground(
    bench: Bench, units: Units, *, learned_reward: bool = False, samples: int | None = None
) -> Ground:
    """Data made, the reference evaluated; a unit an artifact.

    Args:
        bench: with the recipe's own rewards.
        units: their records.
        learned_reward: see ``prepare``.
        samples: completions of the reference a prompt; None: as many as of a policy.

    Raises:
        Enough: an artifact is missing, and no more is to be made.
    """
    rewards = list(bench.recipe.rewards)
    bench = prepare(bench, learned_reward=learned_reward, make=units.make)
    changes = {} if samples is None else {"samples_per_prompt": samples}
    evaluate_reference(bench, make=units.make, **changes)
    return Ground(bench, units, rewards)


def trained(ground: Ground, name: str, trial: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The record of a training; its policy lies in ``work`` until it was measured.

    Args:
        ground: where.
        name: of the policy.
        trial: method, beta, seed, learning rate.
        changes: of the recipe's settings of ``train``.
    """
    work = ground.bench.out / "work" / name

    def train() -> dict[str, Any]:
        if not (finished(work / "policy") and finished(work / "training")):
            config = ground.bench.config(
                "train",
                # nothing is drawn along the way: it costs time, and its collapse would end a training early
                **{"samples": {"num_prompts": 0}, "tracking": {"uri": None}, **changes},
                trial=dict(trial),
            )
            train_policy(config, ground.bench.artifact("referenced"), work / "policy", work / "training")
        facts = read_manifest(work / "training", schema="training").facts
        names = ("method", "beta", "seed", "diverged", "reason", "steps", "hints", "pilot")
        known = {key: value for key, value in facts["metrics"].items() if value is not None}
        return {**{each: facts[each] for each in names}, "metrics": known}

    return ground.units(f"train/{name}", train)


def measured(
    ground: Ground,
    name: str,
    split: str,
    *,
    training: Callable[[], dict[str, Any]],
    weights: Sequence[float] = (),
) -> dict[str, Any]:
    """The record of an evaluation on one split: ``lines`` by reward, of the policy and its mixes.

    Args:
        ground: where.
        name: of the policy.
        split: which counts; the other gets as few prompts as can be.
        training: its record; a policy that has none is not measured.
        weights: of the mixes.
    """
    path = f"evaluate/{name}_{split}"
    begun = training()
    if begun["failed"]:
        return {"unit": path, "failed": f"training: {begun['failed']}"}

    def evaluate() -> dict[str, Any]:
        folder = ground.bench.out / "work" / name / f"evaluation_{split}"
        config = ground.bench.config("evaluate", mixes=list(weights), num_prompts=counts(ground.bench, split))
        if not finished(folder):
            scored = ground.bench.artifact(ground.bench.scored)
            evaluate_policy(config, scored, folder, policy=ground.bench.out / "work" / name / "policy")
        return {"lines": lines_of(ground, folder, split, weights), "summary": summary_of(folder, split)}

    record = ground.units(path, evaluate)
    if not record["failed"]:
        shutil.rmtree(ground.bench.out / "work" / name, ignore_errors=True)
    return record


def reference_folder(bench: Bench) -> Path:
    """Where the evaluation of the reference lies."""
    name = "reference_evaluation"
    return bench.artifact(name if bench.scored == "scored" else f"{name}_{bench.scored}")


def reference_place(ground: Ground, split: str) -> Place:
    """Where the reference lies, by as many completions as a policy draws."""
    folder = reference_folder(ground.bench)
    samples = ground.bench.config("evaluate").samples_per_prompt
    return read_place("reference", folder, split, most=samples)


def predicted_gain(bench: Bench, beta: float) -> float | None:
    """J* - J_ref by the logs, reward units; None where they predict none."""
    facts = read_manifest(bench.artifact("referenced"), schema="referenced").facts
    ladder = read_ladder(facts.get("ladder"))
    gain = 0.0 if ladder is None else ladder.gain_at(beta)
    return gain if gain > 0 else None


def counts(bench: Bench, split: str) -> dict[str, int]:
    """Prompts of each split where one of them counts: as many as the recipe says, or the fewest."""
    config: EvaluateConfig = bench.config("evaluate")
    return {each: config.count(each) if each == split else FEWEST for each in HELD_OUT}


def summary_of(folder: Path, split: str) -> dict[str, Any]:
    """What the evaluation itself says of the policy."""
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())[split]
    return {name: found[name] for name in ("reward", "kl", "length", "finished_fraction")}


def lines_of(ground: Ground, folder: Path, split: str, weights: Sequence[float]) -> dict[str, list[dict]]:
    """By reward, the places of a policy and of those mixes whose numbers are finite, as values of JSON."""
    folders = {TRAINED: folder, **{f"x {weight:g}": mix_folder(folder, weight) for weight in weights}}
    found: dict[str, list[dict]] = {}
    for reward, judge in ground.judges(folder).items():
        found[reward] = [
            place_facts(read_place(name, each, split, judge=judge))
            for name, each in folders.items()
            if finite(each, split)
        ]
    if not found["reward"]:
        raise FloatingPointError("neither the policy nor a mix of it gives finite numbers")
    return found


def finite(folder: Path, split: str) -> bool:
    """Whether something was drawn, and every number of it is finite."""
    draws: Draws = read_draws(folder, split)
    values = [*draws.rewards.values(), *draws.kls.values()]
    return bool(values) and all(np.isfinite(each).all() for each in values)


def place_facts(place: Place) -> dict[str, Any]:
    """A place as values of JSON."""
    return {"name": place.name, "rewards": place.rewards.tolist(), "kls": place.kls.tolist()}


def read_line(facts: Sequence[Mapping[str, Any]]) -> Line:
    """Places out of values of JSON."""
    return [Place(each["name"], np.array(each["rewards"]), np.array(each["kls"])) for each in facts]
