"""What ``experiments.equal_kl`` tells of its records: rewards at equal KL, J, and what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from copg.evaluation.draws import read_draws
from copg.records import Estimate
from experiments.crossed import difference, over_seeds
from experiments.places import Floats, Place, along, best_of_line, placed
from experiments.policies import TRAINED, Ground, Line, predicted_gain, read_line, reference_folder

REFERENCE = "reference"
BEST_OF = "best_of"
BASE = "copg"
"""Whom the others are compared with."""


class Trained(Protocol):
    """A setting of a method."""

    @property
    def beta(self) -> float:
        """Of its loss."""

    @property
    def learning_rate(self) -> float:
        """Of its optimiser."""


@dataclass(frozen=True)
class Method:
    """The records of a method."""

    name: str
    settings: Sequence[Trained]
    tuned: Sequence[Mapping[str, Any]]
    """Evaluation of each setting on the select split, one seed."""
    scores: Sequence[float | None]
    """By which one is chosen, reward units; None of one that failed."""
    chosen: int | None
    """Which setting; None where all failed."""
    found: Sequence[Mapping[str, Any]]
    """Evaluation of the chosen one on the gate split, by seed."""


@dataclass(frozen=True)
class Reference:
    """What the reference drew on one split, under each reward."""

    places: Mapping[str, Place]
    """By reward: ``reward``, and ``true`` where that is another."""
    best_of: Mapping[str, Line]
    """Of the best of n by ``reward``."""


def reference_of(ground: Ground, split: str, most: int) -> Reference:
    """The reference's place, by as many completions as a policy's, and its best-of-n lines, by all."""
    folder = reference_folder(ground.bench)
    draws, samples = read_draws(folder, split), ground.bench.config("evaluate").samples_per_prompt
    sizes = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= most]
    places, lines = {}, {}
    for reward, judge in ground.judges(folder).items():
        values = judge(draws)
        places[reward] = placed(REFERENCE, values, draws.kls, most=samples)
        lines[reward] = best_of_line(draws.rewards, values, sizes)
    return Reference(places, lines)


@dataclass(frozen=True)
class Scale:
    """The KLs at which lines are compared, and where they begin."""

    reference: Reference
    kls: Sequence[float]

    def score(self, line: Line) -> float:
        """Mean over the KLs of what a line earns at up to so many nats, reward units."""
        whole = [self.reference.places["reward"], *line]
        return float(np.mean([within(whole, kl) for kl in self.kls]))

    def best_kl(self, line: Line, beta: float) -> float:
        """The KL of those that the line reaches at which J is highest; the lowest where it reaches none."""
        whole = [self.reference.places["reward"], *line]
        reached = [kl for kl in self.kls if along(whole, kl)] or [min(self.kls)]
        return max(reached, key=lambda kl: within(whole, kl) - beta * kl)


def within(line: Line, kl: float) -> float:
    """What is earned at up to so many nats: at its farthest place, where a line does not reach so far."""
    spot = along(line, kl)
    return max(line, key=lambda each: each.kl).reward if spot is None else float(spot.rewards.mean())


@dataclass(frozen=True)
class Lines:
    """A method on the gate split: a line a seed, by reward; none of a seed that failed."""

    name: str
    reference: Reference
    seeds: Sequence[Mapping[str, Line]]

    def at(self, kl: float, reward: str) -> Floats | None:
        """[seeds, prompts] at a KL; None where a seed does not reach it."""
        origin = self.reference.places[reward]
        spots = [along([origin, *lines[reward]], kl) for lines in self.seeds]
        rows = [spot.rewards for spot in spots if spot is not None]
        return np.stack(rows) if rows and len(rows) == len(spots) else None

    def reached(self, kl: float) -> int:
        """By how many seeds."""
        origin = self.reference.places["reward"]
        return sum(along([origin, *lines["reward"]], kl) is not None for lines in self.seeds)

    @cached_property
    def as_trained(self) -> Sequence[Place]:
        """The policies themselves, of the seeds whose numbers are finite."""
        return [place for lines in self.seeds for place in lines["reward"] if place.name == TRAINED]


def summarise(
    ground: Ground, kls: Sequence[float], best_of: int, found: Sequence[Method], *, beta: float | None
) -> dict[str, Any]:
    """What ``equal_kl.json`` holds, but for what is missing."""
    gate, select = (reference_of(ground, split, best_of) for split in ("gate", "select"))
    scale = Scale(select, kls)
    lines = {
        each.name: Lines(
            each.name,
            gate,
            [
                {reward: read_line(line) for reward, line in record["lines"].items()}
                for record in each.found
                if not record["failed"]
            ],
        )
        for each in found
        if each.chosen is not None
    }
    lines[BEST_OF] = Lines(BEST_OF, gate, [gate.best_of])
    tuned = {
        m.name: read_line(m.tuned[m.chosen]["lines"]["reward"]) for m in found if m.chosen is not None
    } | {BEST_OF: select.best_of["reward"]}
    rewards = list(gate.places)
    predicted = None if beta is None else predicted_gain(ground.bench, beta)
    return {
        "rewards": rewards,
        "kls": list(kls),
        "reference": {reward: asdict(over_seeds(p.rewards[None])) for reward, p in gate.places.items()},
        "beta": beta,
        "predicted_gain": predicted,
        "settings": {each.name: _settings(each) for each in found},
        "policies": {
            name: {
                "seeds": len(line.seeds),
                "places": [
                    [{"kl": p.kl, **{r: own[r][i].reward for r in own}} for i, p in enumerate(own["reward"])]
                    for own in line.seeds
                ],
                "at_kl": [_at_kl(line, lines.get(BASE), kl, rewards) for kl in kls],
                **({} if beta is None else _worth(line, scale.best_kl(tuned[name], beta), beta, predicted)),
            }
            for name, line in lines.items()
        },
        "failures": [
            {"unit": each["unit"], "failed": each["failed"]}
            for m in found
            for each in (*m.tuned, *m.found)
            if each["failed"]
        ],
    }


def _settings(method: Method) -> list[dict[str, Any]]:
    return [
        {
            "beta": setting.beta,
            "learning_rate": setting.learning_rate,
            "score": score,
            "chosen": i == method.chosen,
            "failed": record["failed"],
        }
        for i, (setting, score, record) in enumerate(
            zip(method.settings, method.scores, method.tuned, strict=True)
        )
    ]


def _at_kl(line: Lines, base: Lines | None, kl: float, rewards: Sequence[str]) -> dict[str, Any]:
    """Each reward at a KL, and less CoPG's there; None where a seed does not reach it."""
    found: dict[str, Any] = {"kl": kl, "reached": line.reached(kl)}
    for reward in rewards:
        own = line.at(kl, reward)
        other = None if base is None or base.name == line.name else base.at(kl, reward)
        found[reward] = None if own is None else asdict(over_seeds(own))
        both = own is not None and other is not None
        found[f"{reward}_less_{BASE}"] = asdict(difference(own, other)) if both else None
    return found


def _worth(line: Lines, kl: float, beta: float, predicted: float | None) -> dict[str, Any]:
    """J at the KL that the select split chose, and of the policies as they were trained."""
    start = line.reference.places["reward"].rewards[None]
    there = line.at(kl, "reward")
    own = [place.rewards - beta * place.kls for place in line.as_trained]
    return {
        "J": {"kl": kl, **_gain(None if there is None else there - beta * kl, start, predicted)},
        "J_as_trained": _gain(np.stack(own) if len(own) == len(line.seeds) > 0 else None, start, predicted),
    }


def _gain(values: Floats | None, start: Floats, predicted: float | None) -> dict[str, Any]:
    if values is None:
        return {"value": None, "gain": None, "share": None}
    gain = difference(values, start)
    share = Estimate(*(each / predicted for each in (gain.mean, gain.low, gain.high))) if predicted else None
    return {
        "value": asdict(over_seeds(values)),
        "gain": asdict(gain),
        "share": asdict(share) if share else None,
    }
