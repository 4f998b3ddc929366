"""Where policies lie by KL and reward, prompt by prompt, and what lies on the line between them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from copg.evaluation.draws import Draws, read_draws

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where a policy lies, prompt by prompt, in one order of prompts."""

    name: str
    rewards: Floats
    """[prompts] mean over the completions of each, reward units."""
    kls: Floats
    """[prompts] nats a completion."""

    @property
    def kl(self) -> float:
        """Mean over prompts."""
        return float(self.kls.mean())

    @property
    def reward(self) -> float:
        """Mean over prompts."""
        return float(self.rewards.mean())


@dataclass(frozen=True)
class Spot:
    """What a line has at a KL where nothing was measured."""

    rewards: Floats
    """[prompts] whose mean is the reward there, and whose spread includes what the two KLs miss."""
    slope: float
    """Reward units by which it rises with the root of the KL."""


def along(line: Sequence[Place], kl: float) -> Spot | None:
    """What a line of places earns at a KL; None where it does not reach so far.

    Near the reference rewards grow as the root of the KL, so the line is straight in that: with share s of
    the way from sqrt(k0) to sqrt(k1) its reward is (1 - s) r0 + s r1. Both KLs are estimates: what they miss
    moves the spot on the line, prompt by prompt.

    Args:
        line: in any order, on the same prompts; the nearest at a KL of 0.
        kl: nats a completion.
    """
    placed = sorted(line, key=lambda each: each.kl)
    for near, far in pairwise(placed):
        if near.kl <= kl <= far.kl and near.kl < far.kl:
            start, end = near.kl**0.5, far.kl**0.5
            share = (kl**0.5 - start) / (end - start)
            slope = (far.reward - near.reward) / (end - start)
            moved = (1 - share) * root_missed(near) + share * root_missed(far)
            return Spot((1 - share) * near.rewards + share * far.rewards - slope * moved, slope)
    return None


def root_missed(place: Place) -> Floats:
    """[prompts] by how much each moves the root of the mean KL; nothing where that is 0."""
    return (place.kls - place.kl) / (2 * place.kl**0.5) if place.kl else np.zeros_like(place.kls)


Judge = Callable[[Draws], Mapping[str, Sequence[float]]]
"""Rewards of what was drawn, by prompt, one a completion."""


def as_measured(draws: Draws) -> Mapping[str, Sequence[float]]:
    """The reward by which it was evaluated."""
    return draws.rewards


def read_place(
    name: str, folder: Path, split: str = "gate", *, judge: Judge = as_measured, most: int | None = None
) -> Place:
    """Where an evaluation, or the mix in a folder of it, lies.

    Args:
        name: of the place.
        folder: of the evaluation or the mix.
        split: of the prompts.
        judge: whose rewards count.
        most: completions of a prompt that count, the first so many; None: all.
    """
    draws = read_draws(folder, split)
    return placed(name, judge(draws), draws.kls, most=most)


def placed(
    name: str,
    rewards: Mapping[str, Sequence[float]],
    kls: Mapping[str, Sequence[float]],
    *,
    most: int | None = None,
) -> Place:
    """The place of completions by prompt, prompts in the order of their ids."""
    means = [[np.mean(values[prompt][:most]) for values in (rewards, kls)] for prompt in sorted(rewards)]
    return Place(name, *np.array(means, dtype=np.float64).reshape(-1, 2).T)


def best_of_line(
    ranked_by: Mapping[str, Sequence[float]], rewards: Mapping[str, Sequence[float]], sizes: Sequence[int]
) -> list[Place]:
    """What is earned by the best of n of the reference's completions, at the bound of its KL.

    Over every choice of n of those that were drawn. The KL is log n - (n - 1) / n at most, and less where
    completions tie, so that a line of these places is never better than what it stands for.

    Args:
        ranked_by: what the best is chosen by, by prompt, one a completion.
        rewards: what it earns, of the same completions; those that tie are taken alike.
        sizes: each n, no more than were drawn for any prompt.
    """
    drawn = [_ranked(ranked_by[prompt], rewards[prompt]) for prompt in sorted(ranked_by)]
    found = []
    for n in sizes:
        values = np.array([_expected(n, ordered) for ordered in drawn])
        bound = math.log(n) - (n - 1) / n
        found.append(Place(f"best of {n}", values, np.full(len(values), bound)))
    return found


def _ranked(ranked_by: Sequence[float], rewards: Sequence[float]) -> Floats:
    """Rewards in rising order of rank, each the mean of those that tie with it."""
    levels, inverse = np.unique(np.asarray(ranked_by, dtype=np.float64), return_inverse=True)
    means = np.bincount(inverse, weights=rewards) / np.bincount(inverse, minlength=len(levels))
    return np.asarray(means[np.sort(inverse)], dtype=np.float64)


def _expected(n: int, ordered: Floats) -> float:
    """The i-th of N in rising order is the best of C(i - 1, n - 1) choices of n."""
    ways = math.comb(len(ordered), n)
    return math.fsum(math.comb(i, n - 1) / ways * value for i, value in enumerate(ordered))
