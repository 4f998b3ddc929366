"""Between which values a reward lies, where it is known: of ours by name, of a user's own as it says."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from copg.errors import RewardError
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.ensemble import coefficient_of, ensembles_of, lower_bound_range

Bounds = tuple[float, float] | None
"""Lowest and highest value; None where there is none."""

OF_OURS = {
    "answer": (0.0, 1.0),
    "bleu": (0.0, 1.0),
    "chrf": (0.0, 1.0),
    "entailment": (0.0, 1.0),
    "format": (0.0, 1.0),
    "reference_overlap": (0.0, 1.0),
    "rouge": (0.0, 1.0),
    "rouge_l": (0.0, 1.0),
    "similarity": (-1.0, 1.0),
    "unit_tests": (0.0, 1.0),
}
"""Of the rewards whose bounds no setting moves. ``length`` is not among them: its floor lies so far from what
happens that an interval which reckons with it sees no gain."""


def bounds_of_parts(
    specs: Sequence[RewardSpec], rewards: Mapping[str, Any], scales: Mapping[str, Scale]
) -> dict[str, tuple[float, float]]:
    """Of the weighted sum, as ``reward``, and of each part before weighting; what has none is left out.

    A reward of a user's own has bounds where it says so: an attribute ``bounds``, two numbers.

    Args:
        specs: how the rewards are mixed.
        rewards: each of them, by the name of its part.
        scales: of the parts that are standardised.
    """
    parts = {spec.part: _of_part(spec, rewards.get(spec.part)) for spec in specs}
    of_each = {spec.part: _added(spec, parts[spec.part], scales) for spec in specs}
    added = [of_each[spec.part] for spec in specs if spec.ensemble is None]
    added += [_of_ensemble(members, of_each) for members in ensembles_of(specs).values()]
    found = {part: bounds for part, bounds in parts.items() if bounds is not None}
    known = [each for each in added if each is not None]
    if known and len(known) == len(added):
        found["reward"] = math.fsum(low for low, _ in known), math.fsum(high for _, high in known)
    return found


def check_ranges(specs: Sequence[RewardSpec], rewards: Mapping[str, Any]) -> None:
    """Refuse ensembles whose members are in units that cannot be the same.

    Args:
        specs: how the rewards are mixed.
        rewards: each of them, by the name of its part, as far as it is known.

    Raises:
        RewardError: members that are not standardised lie between different values.
    """
    for name, members in ensembles_of(specs).items():
        known = {spec.part: _of_part(spec, rewards.get(spec.part)) for spec in members}
        told = [f"'{part}' from {ends[0]:g} to {ends[1]:g}" for part, ends in known.items() if ends]
        if len({ends for ends in known.values() if ends}) > 1 and not members[0].standardise:
            raise RewardError(
                f"ensemble '{name}': its members are not on one scale, {' and '.join(told)}: set "
                "standardise: true in each"
            )


def _of_ensemble(members: Sequence[RewardSpec], of_each: Mapping[str, Bounds]) -> Bounds:
    known = [each for spec in members if (each := of_each[spec.part]) is not None]
    return lower_bound_range(known, coefficient_of(members)) if len(known) == len(members) else None


def _of_part(spec: RewardSpec, reward: Any) -> Bounds:
    if spec.name in OF_OURS:
        return OF_OURS[spec.name]
    said = getattr(reward, "scale" if spec.name == "judge" else "bounds", None)
    return (float(said[0]), float(said[1])) if isinstance(said, tuple | list) and len(said) == 2 else None


def _added(spec: RewardSpec, bounds: Bounds, scales: Mapping[str, Scale]) -> Bounds:
    """Of what a part adds to the sum."""
    if spec.weight == 0:
        return 0.0, 0.0
    low, high = (-math.inf, math.inf) if bounds is None else bounds
    if spec.standardise and spec.part in scales:
        mean, std = scales[spec.part]
        low, high = (low - mean) / std, (high - mean) / std
    if spec.clip is not None:
        low, high = (min(max(value, spec.clip[0]), spec.clip[1]) for value in (low, high))
    if spec.only_if is not None:
        low, high = min(low, spec.only_if.otherwise), max(high, spec.only_if.otherwise)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    ends = sorted((spec.weight * low, spec.weight * high))
    return ends[0], ends[1]
