"""A reward model from comparisons: Bradley-Terry on pairs, and how well it ranks and how sure it may be."""

import math
import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from copg.errors import RewardError
from copg.lm.text import TextCodec
from copg.progress import track
from copg.records import Group
from copg.rewards.classifier import Encoding, forward
from copg.rewards.reward_model import EncodedPair, Form, encode
from copg.training.config import OptimizerConfig
from copg.training.optim import build_optimizer, learning_rate

NUM_BINS = 10


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


def read_comparisons(
    groups: Iterable[Group],
    codec: TextCodec,
    *,
    form: Form,
    max_tokens: int,
    min_gap: float,
    limit: int,
    dropped: Counter[str],
) -> Iterator[Comparisons]:
    """The groups that hold a pair; what is left out is counted in ``dropped``.

    Raises:
        RewardError: a completion without a reward to rank it by.
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
        encodings = {
            k: _compact(encode(codec, group.prompt, group.completions[k].text, form=form)) for k in used
        }
        fits = [k for k in used if len(encodings[k]["input_ids"]) <= max_tokens]
        kept = [(i, j) for i, j in pairs if i in fits and j in fits]
        dropped["pairs_too_long"] += len(pairs) - len(kept)
        place = {k: n for n, k in enumerate(fits)}
        if kept:
            yield Comparisons(
                [encodings[k] for k in fits],
                [len(group.completions[k].text) for k in fits],
                [(place[i], place[j]) for i, j in kept],
            )


def _compact(encoded: EncodedPair) -> Encoding:
    """4 bytes a token instead of a Python list's 8."""
    return {key: array("i", ids) for key, ids in encoded.ids.items()}


def fit(
    model: Any,
    data: Sequence[Comparisons],
    optimizer_config: OptimizerConfig,
    *,
    epochs: int,
    groups_per_step: int,
    tokens_per_batch: int,
    compute_dtype: torch.dtype,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Train in place; yields loss (nats a pair), accuracy, gradient norm and learning rate of each step.

    Every group weighs the same, whatever its number of pairs, and none is split over two forwards, of
    ``tokens_per_batch`` each, padding included.

    Raises:
        RewardError: the loss is not finite.
    """
    optimizer = build_optimizer(model, optimizer_config)
    steps = list(_steps(len(data), epochs, groups_per_step, seed))
    for step, chosen in enumerate(track(steps, "reward")):
        rate = learning_rate(step, len(steps), optimizer_config, peak=optimizer_config.learning_rate)
        for settings in optimizer.param_groups:
            settings["lr"] = rate
        groups = [data[i] for i in chosen]
        loss_sum = correct = 0.0
        for batch in _micro_batches(groups, tokens_per_batch):
            loss, right = _batch_loss(model, batch, compute_dtype)
            # the last step of an epoch may have fewer, which weigh no more for it
            (loss / min(groups_per_step, len(data))).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(loss.detach())
            correct += right
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer_config.max_grad_norm))
        if not math.isfinite(loss_sum) or not math.isfinite(norm):
            raise RewardError(f"reward: the loss of step {step + 1} is not finite: lower the learning rate")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield {
            "loss/mean": loss_sum / len(groups),
            "accuracy/mean": correct / len(groups),
            "gradient/norm": norm,
            "learning_rate/value": rate,
        }


def _steps(num_groups: int, epochs: int, groups_per_step: int, seed: int) -> Iterator[list[int]]:
    for epoch in range(epochs):
        order = list(range(num_groups))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        for start in range(0, num_groups, groups_per_step):
            yield order[start : start + groups_per_step]


def _micro_batches(groups: Sequence[Comparisons], tokens_per_batch: int) -> Iterator[list[Comparisons]]:
    batch: list[Comparisons] = []
    longest = rows = 0
    for group in sorted(groups, key=lambda g: -max(len(e["input_ids"]) for e in g.encodings)):
        longest = longest or max(len(e["input_ids"]) for e in group.encodings)
        if batch and (rows + len(group.encodings)) * longest > tokens_per_batch:
            yield batch
            batch, rows = [], 0
            longest = max(len(e["input_ids"]) for e in group.encodings)
        batch.append(group)
        rows += len(group.encodings)
    yield batch


def _batch_loss(model: Any, batch: Sequence[Comparisons], dtype: torch.dtype) -> tuple[Tensor, float]:
    """Sum over groups of the mean over pairs, of the loss and of being right."""
    mixed = dtype != torch.float32
    with torch.autocast(model.device.type, dtype=dtype) if mixed else nullcontext():
        scores = forward(model, [e for group in batch for e in group.encodings])[:, 0]
    loss = scores.new_zeros(())
    right = 0.0
    start = 0
    for group in batch:
        own = scores[start : start + len(group.encodings)]
        start += len(group.encodings)
        better, worse = own[[i for i, _ in group.pairs]], own[[j for _, j in group.pairs]]
        loss = loss + bradley_terry_loss(better, worse).mean()
        right += float((better > worse).float().mean())
    return loss, right


def pair_outcomes(data: Sequence[Comparisons], scores: Sequence[Sequence[float]]) -> list[list[float]]:
    """[groups][pairs] score of the better completion minus that of the worse."""
    return [[own[i] - own[j] for i, j in group.pairs] for group, own in zip(data, scores, strict=True)]


def win(difference: float) -> float:
    """1 when the better completion is ranked first, half for a tie."""
    return 0.5 if difference == 0 else float(difference > 0)


def reliability(differences: Sequence[float]) -> list[dict[str, float]]:
    """How often the model is right, by how sure it says it is: ten bins of confidence from .5 to 1.

    Confidence is sigmoid of the absolute difference, what the model gives as the chance that it ranks the
    pair rightly. Empty bins are left out.
    """
    bins: dict[int, list[tuple[float, float]]] = {}
    for difference in differences:
        confidence = 1 / (1 + math.exp(-min(abs(difference), 700)))
        place = min(int((confidence - 0.5) * 2 * NUM_BINS), NUM_BINS - 1)
        bins.setdefault(place, []).append((confidence, win(difference)))
    return [
        {
            "pairs": float(len(found)),
            "confidence": sum(c for c, _ in found) / len(found),
            "accuracy": sum(w for _, w in found) / len(found),
        }
        for _, found in sorted(bins.items())
    ]


def calibration_error(table: Sequence[dict[str, float]]) -> float:
    """Mean distance of confidence and accuracy over pairs (expected calibration error)."""
    total = sum(row["pairs"] for row in table)
    return sum(row["pairs"] * abs(row["confidence"] - row["accuracy"]) for row in table) / total


def log_loss(differences: Sequence[float]) -> float:
    """Mean Bradley-Terry loss, nats a pair; ln 2 = .693 is what knowing nothing costs."""
    return sum(max(-d, 0) + math.log1p(math.exp(-abs(d))) for d in differences) / len(differences)
