"""Comparisons of a prompt's completions, and the loss of Bradley and Terry on them."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from copg.errors import RewardError
from copg.records import CLUSTER, Group, cluster_of
from copg.rewards.classifier import Encoding
from copg.training.lessons import Reader


def bradley_terry_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-log sigmoid(better - worse): the pair's cross-entropy when P(better wins) = sigmoid(difference).

    Bradley and Terry 1952.

    Args:
        better: [P] scores of the preferred completions.
        worse: [P] scores of the others.

    Returns:
        [P] nats.
    """
    return -torch.nn.functional.logsigmoid(better - worse)


def ranked_pairs(rewards: Sequence[float], *, min_gap: float, limit: int, key: str) -> list[tuple[int, int]]:
    """(better, worse) of one group: every pair whose rewards differ by more than ``min_gap``.

    Args:
        rewards: [K] of the group's completions.
        min_gap: in reward units; 0 takes every pair that is not tied.
        limit: most pairs; of more, a sample.
        key: decides the sample, so that it is the same in every run.
    """
    pairs = [(i, j) if rewards[i] > rewards[j] else (j, i) for i, j in combinations(range(len(rewards)), 2)]
    pairs = [(i, j) for i, j in pairs if rewards[i] - rewards[j] > min_gap]
    if len(pairs) > limit:
        pairs = sorted(random.Random(key).sample(pairs, limit))
    return pairs


@dataclass(frozen=True, slots=True)
class Comparisons:
    """One group as the reward model reads it."""

    encodings: list[Encoding]
    """Of the completions that are in a pair."""
    lengths: list[int]
    """Characters of each."""
    pairs: list[tuple[int, int]]
    """(better, worse), positions in ``encodings``."""
    cluster: str = ""
    """What its prompt shares with those that count as one with it; empty where it stands for itself."""

    def loss(self, scores: Tensor) -> tuple[Tensor, float]:
        """Of [K] scores: mean loss of a pair, nats, and the share of pairs that they rank rightly."""
        better, worse = scores[[i for i, _ in self.pairs]], scores[[j for _, j in self.pairs]]
        return bradley_terry_loss(better, worse).mean(), float((better > worse).float().mean())

    def differences(self, scores: Sequence[float]) -> list[float]:
        """Of each pair: the score of the better completion minus that of the worse."""
        return [scores[i] - scores[j] for i, j in self.pairs]


def read_comparisons(
    groups: Iterable[Group],
    reader: Reader,
    *,
    min_gap: float,
    limit: int,
    dropped: Counter[str],
    cluster: str = CLUSTER,
) -> Iterator[Comparisons]:
    """The groups that hold a pair; what is left out is counted in ``dropped``.

    Args:
        cluster: column whose equal values make prompts count as one.

    Raises:
        RewardError: a completion without a reward to rank it by.
        RecordError: the model's chat template refuses a prompt.
    """
    for group in groups:
        rewards = []
        for k, completion in enumerate(group.completions, 1):
            if completion.reward is None or not math.isfinite(completion.reward):
                raise RewardError(f"{group.source}: completion {k} has reward={completion.reward}, no rank")
            rewards.append(completion.reward)
        pairs = ranked_pairs(rewards, min_gap=min_gap, limit=limit, key=group.id)
        if not pairs:
            dropped["groups_without_pair"] += 1
            continue
        used = sorted({k for pair in pairs for k in pair})
        read = {k: reader.read(group, group.completions[k].text) for k in used}
        fits = {k: encoding for k, encoding in read.items() if encoding is not None}
        kept = [(i, j) for i, j in pairs if i in fits and j in fits]
        dropped["pairs_too_long"] += len(pairs) - len(kept)
        place = {k: n for n, k in enumerate(fits)}
        if kept:
            yield Comparisons(
                list(fits.values()),
                [len(group.completions[k].text) for k in fits],
                [(place[i], place[j]) for i, j in kept],
                cluster_of(group, cluster) or "",
            )
