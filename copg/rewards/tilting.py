"""Completions of a prompt weighted by exp(R / beta): log-mean-exp, and the bias of a few of them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SEED = 20240626


class Tilted(NamedTuple):
    """Of each prompt, the optimum at one beta over its completions."""

    objective: Floats
    """[G] beta ln sum of p exp(R / beta), reward units."""
    reward: Floats
    """[G] sum of w R, reward units."""
    kl: Floats
    """[G] KL of the weights w from the base p, nats."""
    effective: Floats
    """[G] 1 / sum of w**2, completions."""
    base_reward: Floats
    """[G] sum of p R, reward units."""


def support_of(rewards: Floats, logits: Floats) -> Floats:
    """[G] -ln of what the base gives the best: the KL of a policy that says nothing else, nats."""
    best = rewards == rewards.max(axis=1, keepdims=True)
    return -_log_sum(np.where(best, _log_base(logits), -np.inf))


def tilt(rewards: Floats, logits: Floats, beta: float) -> Tilted:
    """The optimum over the completions at hand.

    Args:
        rewards: [G, K] reward units.
        logits: [G, K] of the base, nats up to a constant a prompt.
        beta: reward units per nat; > 0.
    """
    log_base = _log_base(logits)
    top = rewards.max(axis=1, keepdims=True)
    centred = rewards - top
    log_weights = log_base + centred / beta
    log_sum = _log_sum(log_weights)
    weights, base = np.exp(log_weights - log_sum[:, None]), np.exp(log_base)
    reward = (weights * centred).sum(axis=1)
    objective = beta * log_sum
    return Tilted(
        objective + top[:, 0],
        reward + top[:, 0],
        np.maximum((reward - objective) / beta, 0.0),
        1 / (weights**2).sum(axis=1),
        (base * centred).sum(axis=1) + top[:, 0],
    )


def corrected(rewards: Floats, beta: float) -> Tilted:
    """``tilt`` over equal completions less its bias, to the first order in 1/K: the jackknife over them.

    For K draws from the reference, E[beta ln mean exp(R / beta)] is below its limit by Jensen's inequality;
    K times it less K - 1 times the mean of those without one completion is so by 1/K**2 alone.

    Args:
        rewards: [G, K] reward units, K of at least 2.
        beta: reward units per nat; > 0.
    """
    whole, num = tilt(rewards, np.zeros_like(rewards), beta), rewards.shape[1]
    top = rewards.max(axis=1, keepdims=True)
    weights = np.exp((rewards - whole.objective[:, None]) / beta) / num
    without = np.maximum(1 - weights, 0.5)  # but for the best, whose place is filled below
    objective = beta * (np.log(without) + math.log(num / (num - 1))) + whole.objective[:, None]
    reward = (whole.reward[:, None] - top - weights * (rewards - top)) / without + top
    best = np.arange(num) == rewards.argmax(axis=1)[:, None]
    rest = rewards[~best].reshape(len(rewards), num - 1)
    others = tilt(rest, np.zeros_like(rest), beta)
    objective = np.where(best, others.objective[:, None], objective).mean(axis=1)
    reward = np.where(best, others.reward[:, None], reward).mean(axis=1)
    objective = num * whole.objective - (num - 1) * objective
    reward = num * whole.reward - (num - 1) * reward
    return whole._replace(objective=objective, reward=reward, kl=(reward - objective) / beta)


def halved(rewards: Floats, logits: Floats) -> tuple[Floats, Floats]:
    """[G, K // 2] half of each prompt's completions, chosen blindly: what fewer logs would have held."""
    places = np.tile(np.arange(rewards.shape[1]), (len(rewards), 1))
    order = np.random.default_rng(_SEED).permuted(places, axis=1)[:, : rewards.shape[1] // 2]
    return np.take_along_axis(rewards, order, axis=1), np.take_along_axis(logits, order, axis=1)


def _log_base(logits: Floats) -> Floats:
    return logits - _log_sum(logits)[:, None]


def _log_sum(values: Floats) -> Floats:
    """[G] ln of the sum of exponentials of each row."""
    top = values.max(axis=1, keepdims=True)
    found: Floats = np.log(np.exp(values - top).sum(axis=1)) + top[:, 0]
    return found
