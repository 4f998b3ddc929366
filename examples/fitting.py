"""Supervised training of a small model: cross-entropy of completions in prefix-shared rows."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import TokenGroup, plan_batches
from copg.lm.scorer import SequenceScorer, score_batch
from copg.progress import track

WARMUP_STEPS = 30
FLOOR = 0.05
"""Of the learning rate, as a share of its peak."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: by steps, which gives the same weights again, or by minutes of wall clock."""

    steps: int = 0
    minutes: float = 0.0

    def fractions(self) -> Iterator[float]:
        """The share of the budget that is spent before each step."""
        started, step = time.monotonic(), 0
        while True:
            spent = step / self.steps if self.steps else (time.monotonic() - started) / (60 * self.minutes)
            if spent >= 1:
                return
            yield spent
            step += 1


def fit(
    model: Any,
    batches: Iterable[Sequence[TokenGroup]],
    *,
    budget: Budget,
    learning_rate: float,
    description: str,
) -> float:
    """Train all weights on the completions of groups.

    Args:
        model: trained in place; in evaluation mode afterwards.
        batches: the groups of each step; it must not run dry before the budget does.
        budget: when to stop, and how far the learning rate has fallen.
        learning_rate: peak, reached after a short warm-up, falling linearly.
        description: shown while it runs.

    Returns:
        Mean cross-entropy over the last tenth of the steps, nats a completion token.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    rows = RowConfig()
    scorer = SequenceScorer(model.train(), rows)
    losses: list[float] = []
    steps = zip(budget.fractions(), batches, strict=False)
    for step, (spent, groups) in enumerate(track(steps, description, budget.steps or None), 1):
        for options in optimizer.param_groups:
            options["lr"] = learning_rate * min(1.0, step / WARMUP_STEPS) * max(FLOOR, 1 - spent)
        losses.append(_step(scorer, groups, rows))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _step(scorer: SequenceScorer, groups: Sequence[TokenGroup], rows: RowConfig) -> float:
    """Gradients of the mean cross-entropy of all completion tokens."""
    num_tokens = sum(len(ids) for group in groups for ids in group.completion_ids)
    total = 0.0
    for plan in plan_batches(groups, rows):
        loss = -score_batch(scorer, build_batch(groups, plan, rows), rows).sum() / num_tokens
        loss.backward()
        total += loss.item()
    return total
