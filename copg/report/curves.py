"""Metrics of the trainings, step by step."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup, escape

from copg.data.html import printable
from copg.training.log import read_metrics

MAX_POINTS = 500
"""A longer curve is drawn by the means of this many runs of steps."""
MAX_CURVES = 24
KNOWN = {
    "reward/mean": ("Reward of generations", "reward units"),
    "kl/mean": ("KL of generations", "nats a completion"),
    "length/mean": ("Length of generations", "tokens a completion"),
    "finished/fraction": ("Generations that ended by themselves", "fraction"),
    "loss/mean": ("Loss", "mean of a group"),
    "residual/fraction": (Markup("Residual Var(R<sub>β</sub>) / Var(R) within groups"), "fraction"),
    "log_ratio/best": ("Log-ratio of each group's best completion", "nats"),
    "log_ratio/worst": ("Log-ratio of each group's worst completion", "nats"),
    "log_ratio/mean": ("Log-ratio of all completions", "nats"),
    "log_ratio/weighted": ("KL that the logs show", "nats"),
    "reference_point/mean": ("Reference point of KTO", "nats"),
    "reward/std": ("Spread of the reward of generations", "reward units"),
    "reward_spread/mean": ("Spread of the reward within groups", "reward units"),
    "groups/tied": ("Groups whose rewards are all equal", "fraction"),
    "gradient/norm": ("Norm of the gradient", "before clipping"),
    "gradient/clipped_fraction": ("Steps that were clipped", "fraction"),
    "learning_rate/value": ("Learning rate", "a step"),
    "tokens/per_s": ("Speed", "tokens/s"),
}
"""Title and unit, in the order of the page; any other key follows under its own name."""
FIRST = ("reward/mean", "kl/mean", "length/mean")


@dataclass
class Curve:
    """One metric of one trial."""

    steps: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    """None where the value was not finite."""


def read_curves(directory: Path) -> dict[str, Curve]:
    """Every metric of a training that has two values or more."""
    curves: dict[str, Curve] = {}
    for line in read_metrics(directory / "metrics.jsonl"):
        step = line.pop("step")
        line.pop("time_s", None)
        for key, value in line.items():
            if value is None or isinstance(value, int | float):
                curve = curves.setdefault(key, Curve())
                curve.steps.append(step)
                curve.values.append(None if value is None or not abs(value) < float("inf") else float(value))
    return {key: thin(curve) for key, curve in curves.items() if len(curve.steps) > 1}


def thin(curve: Curve, max_points: int = MAX_POINTS) -> Curve:
    """The same curve in at most ``max_points`` points: means of neighbouring steps, none of them left out."""
    size = -(-len(curve.steps) // max_points)
    if size == 1:
        return curve
    thinned = Curve()
    for start in range(0, len(curve.steps), size):
        steps, values = curve.steps[start : start + size], curve.values[start : start + size]
        known = [value for value in values if value is not None]
        thinned.steps.append(sum(steps) / len(steps))
        thinned.values.append(sum(known) / len(known) if known else None)
    return thinned


def order_keys(trials: Sequence[dict[str, Curve]]) -> list[str]:
    """Keys that any trial has: reward, KL and the parts of the reward, the other known ones, the rest."""
    there = {key for curves in trials for key in curves}
    known = [key for key in KNOWN if key in there]
    parts = sorted(key for key in there if _part_of(key))
    first = [key for key in known if key in FIRST]
    rest = sorted(there - KNOWN.keys() - set(parts))
    return first + parts + [key for key in known if key not in FIRST] + rest


def title_of(key: str) -> tuple[str, str]:
    """What a metric is called on the page, in HTML, and its unit."""
    if key in KNOWN:
        return KNOWN[key]
    if part := _part_of(key):
        return Markup("<em>{}</em> of generations").format(printable(part)), "before weighting"
    return escape(printable(key)), ""


def _part_of(key: str) -> str:
    """``facts`` of ``reward_facts/mean``, the mean of one part of the reward; empty for any other metric."""
    found = re.fullmatch(r"reward_(.+)/mean", key)
    return found[1] if found and key not in KNOWN else ""
