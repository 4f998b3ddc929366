"""Means over training seeds and prompts, each seed measured on the same prompts, with 95 % intervals."""

import numpy as np
from numpy.typing import NDArray

from copg.records import Estimate

Floats = NDArray[np.float64]
TAIL = 0.025


def over_seeds(values: Floats) -> Estimate:
    """The mean over seeds and prompts, for a new seed's policy on new prompts.

    Its variance is that of the seeds' means over the number of seeds, and that of the prompts' means over
    the number of prompts; Student's t has Satterthwaite's degrees of freedom. What a seed does to single
    prompts is in both, so the interval is a little wide. Three seeds that differ make it very wide: that
    is what three seeds say.

    Args:
        values: [seeds, prompts], at least two prompts; one seed counts as if others were like it.
    """
    return _estimate(float(values.mean()), [_of_seeds(values)], values.mean(axis=0))


def difference(first: Floats, second: Floats) -> Estimate:
    """The mean of the first less that of the second: prompts are shared and paired, seeds are not.

    Args:
        first: [seeds, prompts].
        second: [seeds, prompts] on the same prompts; the number of seeds may be another.
    """
    paired = first.mean(axis=0) - second.mean(axis=0)
    return _estimate(float(paired.mean()), [_of_seeds(first), _of_seeds(second)], paired)


def _of_seeds(values: Floats) -> tuple[float, int]:
    """Variance of the mean that seeds make, and its degrees of freedom."""
    seeds = len(values)
    return (float(values.mean(axis=1).var(ddof=1)) / seeds, seeds - 1) if seeds > 1 else (0.0, 1)


def _estimate(mean: float, seeds: list[tuple[float, int]], prompts: Floats) -> Estimate:
    from scipy.special import stdtrit

    parts = [*seeds, (float(prompts.var(ddof=1)) / len(prompts), len(prompts) - 1)]
    total = sum(variance for variance, _ in parts)
    if total == 0.0:
        return Estimate(mean, mean, mean)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
    half = float(stdtrit(freedom, 1 - TAIL)) * total**0.5
    return Estimate(mean, mean - half, mean + half)
