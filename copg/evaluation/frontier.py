"""Reward against KL: which policies nobody beats on both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """Where a policy lies."""

    name: str
    kl: float
    """Nats a completion, from the reference."""
    reward: float
    """Reward units."""


def frontier(points: Sequence[Point], *, reference_reward: float) -> list[Point]:
    """The reference, at a KL of 0, and then each policy that earns more than all nearer ones.

    An estimated KL may come out below 0, which no KL is: it counts as 0. Of equal points the first is taken;
    a point that is not finite (a diverged trial) never lies on the frontier.

    Args:
        points: in any order, without the reference.
        reference_reward: mean reward of the reference, reward units.

    Returns:
        In order of KL, rewards strictly rising.
    """
    found = [Point("reference", 0.0, reference_reward)]
    finite = [p for p in points if math.isfinite(p.kl) and math.isfinite(p.reward)]
    for point in sorted(finite, key=lambda p: (max(p.kl, 0.0), -p.reward)):
        if point.reward > found[-1].reward:
            found.append(Point(point.name, max(point.kl, 0.0), point.reward))
    return found
