"""Rewards that count as one: what they say on average, less a part of how far they disagree."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from copg.errors import RewardError
from copg.rewards.contract import RewardSpec

ALIKE = ("weight", "standardise", "clip", "only_if")
"""Settings that are of the ensemble, and that its members have in common."""
LEARNT = "reward_model"
"""The reward whose values have a zero and a unit of their own."""


def ensembles_of(specs: Iterable[RewardSpec]) -> dict[str, list[RewardSpec]]:
    """The members of each ensemble, by its name."""
    found: dict[str, list[RewardSpec]] = {}
    for spec in specs:
        if spec.ensemble is not None:
            found.setdefault(spec.ensemble.name, []).append(spec)
    return found


def coefficient_of(members: Sequence[RewardSpec]) -> float:
    """How many standard deviations over these members are taken off their mean."""
    ensemble = members[0].ensemble
    assert ensemble is not None
    return ensemble.coefficient


def check_ensembles(specs: Sequence[RewardSpec]) -> None:
    """Refuse ensembles whose value would mean nothing.

    Raises:
        RewardError: one member, two that are the same reward, members that count differently, reward models
            on scales of their own, a negative weight, or the name of a part.
    """
    parts = {spec.part for spec in specs}
    for name, members in ensembles_of(specs).items():
        if problem := _problem(name, members, parts):
            raise RewardError(f"ensemble '{name}': {problem}")


def _problem(name: str, members: Sequence[RewardSpec], parts: set[str]) -> str:
    first = members[0]
    if name in parts:
        return "is the name of a reward, too: call one of them otherwise"
    if len(members) < 2:
        return f"has one member, '{first.part}', which disagrees with nobody: name another, or leave it out"
    for place, other in enumerate(members):
        for setting, value in _of_all(other).items():
            if value != _of_all(first)[setting]:
                return (
                    f"'{first.part}' and '{other.part}' differ in {setting}, which is the ensemble's: give "
                    "its members the same"
                )
        for before in members[:place]:
            if _what(before) == _what(other):
                return f"'{before.part}' and '{other.part}' are the same reward, which never disagree"
    if first.weight < 0:
        return f"weight={first.weight:g} must be >= 0: of a penalty the lower bound is the most it can be"
    learnt = [spec.part for spec in members if spec.name == LEARNT and not spec.standardise]
    if learnt:
        return (
            f"reward model '{learnt[0]}' has a zero and a unit of its own: set standardise: true in each "
            "member, which puts them on the scale of the train split"
        )
    return ""


def _of_all(spec: RewardSpec) -> dict[str, Any]:
    """Settings that are the ensemble's."""
    ensemble = spec.ensemble and replace(spec.ensemble, member=0)
    return {**{name: getattr(spec, name) for name in ALIKE}, "ensemble": ensemble}


def _what(spec: RewardSpec) -> tuple[Any, ...]:
    """What a member is beside its name; which of the trained models counts where none is named."""
    trained = spec.name == LEARNT and not spec.params.get("model")
    return spec.name, spec.params, spec.ensemble.member if trained and spec.ensemble else None


def member_folder(model: Path, member: int) -> Path:
    """Where a reward model of several that are trained together lies: the first where one alone would."""
    return model / f"member_{member}" if member else model


def spread(values: Sequence[float]) -> float:
    """Standard deviation over members, of as many as there are; exactly 0 where all say the same."""
    lowest, num = min(values), len(values)
    moved = [value - lowest for value in values]
    mean = math.fsum(value / num for value in moved)
    return math.dist(moved, [mean] * num) / math.sqrt(num)


def lower_bound_range(members: Sequence[tuple[float, float]], coefficient: float) -> tuple[float, float]:
    """Between which values mean - coefficient * spread lies, where each member lies between two.

    It is concave in the members, so that it is least where each of them is at one of its ends: with m of n at
    the upper end, m/n - coefficient * sqrt(m/n (1 - m/n)) of the way.

    Args:
        members: lowest and highest value of each; the widest of them is taken for the lower end.
        coefficient: standard deviations over members that are taken off.
    """
    low, high, num = min(a for a, _ in members), max(b for _, b in members), len(members)
    shares = [m / num for m in range(num + 1)]
    least = min(share - coefficient * math.sqrt(share * (1 - share)) for share in shares)
    return low + (high - low) * least, math.fsum(b for _, b in members) / num
