"""Intervals of bounded values by betting: right at any number of prompts, whatever the distribution."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_GRID, _REFINED = 64, 3
"""Means tried at a time, and how often: the end is found within 4e-6 of the bounds' distance."""
_PRIOR = 0.25
"""Variance that counts as one value: the largest there is between 0 and 1."""
_AT_MOST = 0.95
"""Share of what a bet may lose at most."""


def betting_interval(
    values: Floats, weights: Floats, *, bounds: tuple[float, float], tail: float
) -> tuple[float, float]:
    r"""Both ends of an interval of the mean; each is wrong at most with probability ``tail``, exactly.

    A bet that the mean is above m multiplies its stake by 1 + l_t w_t (x_t - m), which nobody expects to gain
    where the mean is m or less; that it ever reaches 1 / tail then has at most that probability (Ville). The
    low end is the least m at which it is not reached (Waudby-Smith and Ramdas 2024,
    https://arxiv.org/abs/2010.09686). Each stake aims at what is missing from 1 / tail by the bets that are
    left (Voracek and Orabona 2025, https://arxiv.org/abs/2505.22422), which at a fixed number of values makes
    it about as narrow as the normal interval.

    Args:
        values: [n] in an order that says nothing of them.
        weights: [n] in (0, 1]: by how much each counts, 1 for the heaviest.
        bounds: lowest and highest value there can be, whether or not they were seen.
        tail: probability that the low end is above the mean, and that the high end is below it.
    """
    low, high = bounds
    if low == high:
        return low, high
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    below, above = (_low_end(each, weights, math.log(1 / tail)) for each in (scaled, 1 - scaled))
    return low + below * (high - low), high - above * (high - low)


def reached(values: Floats, mean: float, tail: float) -> NDArray[np.bool_]:
    """[M] whether values [n, M] in [0, 1] surely average above ``mean``; wrongly with ``tail`` at most."""
    ones, goal, means = np.ones(len(values)), math.log(1 / tail), np.full(values.shape[1], mean)
    return _most_won(values, ones, means, _spread_before(values), goal) >= goal


def _low_end(values: Floats, weights: Floats, goal: float) -> float:
    """The least mean at which the bets do not reach ``goal``, in nats; ``values`` lie in [0, 1]."""
    spread = _spread_before(values)
    low, high = 0.0, 1.0
    for _ in range(_REFINED):
        tried = np.linspace(low, high, _GRID + 1)[1:]
        standing = np.flatnonzero(_most_won(values, weights, tried, spread, goal) < goal)
        first = int(standing[0]) if len(standing) else _GRID - 1
        low, high = (float(tried[first - 1]) if first else low), float(tried[first])
    return low


def _most_won(values: Floats, weights: Floats, means: Floats, spread: Floats, goal: float) -> Floats:
    """[M] logarithm of the largest multiple of its stake that the bet against each mean came to.

    Args:
        values: [n], or [n, M] where each mean is held against values of its own.
        weights: [n].
        means: [M].
        spread: of ``values``, from ``_spread_before``.
        goal: nats; who reached it bets no more.
    """
    won, most = np.zeros_like(means), np.zeros_like(means)
    left = len(values) * float(np.mean(weights**2))  # a bet of half the weight is worth a quarter
    each = left / len(values)
    for value, weight, variance in zip(values, weights, spread, strict=True):
        stake = np.sqrt(2 * np.maximum(goal - won, 0.0) / (variance * left))
        stake = np.where(most < goal, np.minimum(stake, _AT_MOST / means), 0.0)
        won = won + np.log1p(stake * weight * (value - means))
        most = np.maximum(most, won)
        left = max(left - each, each)
    return most


def _spread_before(values: Floats) -> Floats:
    """Of the shape of ``values``: the variance as it was known before each of them."""
    counted = np.arange(1, len(values) + 1).reshape(-1, *[1] * (values.ndim - 1))
    means = (0.5 + np.cumsum(values, axis=0)) / (counted + 1)
    squares = np.cumsum((values - means) ** 2, axis=0)
    before = np.concatenate([np.zeros_like(squares[:1]), squares[:-1]])
    return np.asarray((_PRIOR + before) / counted, dtype=np.float64)
