"""Completions drawn while training, and what they say: a falling loss says nothing by itself."""

import heapq
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copg.artifacts import Manifest
from copg.data.group_files import read_groups
from copg.lm.config import RowConfig
from copg.lm.generation import Policy, load_engine, max_prompt_tokens
from copg.lm.load import load_model
from copg.lm.rows import TokenGroup
from copg.lm.scorer import DTYPES, group_logps
from copg.lm.text import TextCodec
from copg.records import Completion, Group
from copg.rewards.bulk import score_drawn
from copg.rewards.contract import Scale
from copg.rewards.mixture import build_mixture
from copg.training.config import MonitorConfig, TrainConfig

Floats = NDArray[np.float64]
FEWEST = 16
"""Completions from which on least squares say something."""
ENOUGH = 0.4
"""Effective share of completions, weighted by reference / policy, from which on their mean is near 1."""


def mean_kl(log_ratios: Sequence[float]) -> float:
    """KL of a policy from the reference, nats: the mean log-ratio of its own completions, with less noise.

    Over these ref / policy has a mean of 1. What it strays from that is taken off, as many times as least
    squares over the other half of the completions say that log-ratios stray with it: a control variate, which
    changes no expectation, and at small distances leaves a fraction of the noise. Far away a few completions
    would have to make up that mean, and are seldom drawn: where the share of those that count is below
    ``ENOUGH``, it is the plain mean.

    Args:
        log_ratios: log(policy / reference) of completions that the policy drew.
    """
    x = np.asarray(log_ratios, dtype=np.float64)
    plain = float(x.mean())
    if len(x) < FEWEST:
        return plain
    with np.errstate(over="ignore", invalid="ignore"):
        ratios = np.exp(-x)
        if not ratios.mean() ** 2 >= ENOUGH * (ratios**2).mean():
            return plain
        halves = (slice(None, None, 2), slice(1, None, 2))
        strayed = [
            _slope(x[other], ratios[other]) * float((ratios[own] - 1).sum())
            for own, other in (halves, halves[::-1])
        ]
    found = plain - sum(strayed) / len(x)
    return found if math.isfinite(found) else plain


def _slope(x: Floats, ratios: Floats) -> float:
    spread = float(ratios.var())
    return float(np.cov(x, ratios, bias=True)[0, 1]) / spread if spread > 0 else 0.0


class Sampler:
    """Draws one completion for each of the same held-out prompts, with the same noise, every time."""

    def __init__(
        self,
        config: MonitorConfig,
        groups: Sequence[Group],
        codec: TextCodec,
        rows: RowConfig,
        reference: Callable[[Any], AbstractContextManager[Any]],
        scales: Mapping[str, Scale] | None = None,
    ) -> None:
        """Keep what every draw needs.

        Args:
            config: prompts, noise and rewards.
            groups: of the select split, with prompt ids.
            reference: opens the reference of a policy, for as long as it is needed.
            scales: of the parts that are standardised, as ``score`` left them.
        """
        self.config = config
        self.groups = list(groups)
        self._codec = codec
        self._rows = rows.unlimited
        self._reference = reference
        self._engine = load_engine(config.generation)
        self._mixture = build_mixture(config.rewards, scales=scales) if config.rewards else None
        opened = self.groups if config.rewards else []
        self._openings = [codec.open(group.prompt, group.columns) for group in opened]

    def due(self, step: int, num_steps: int) -> bool:
        """Whether to draw after ``step`` of ``num_steps``."""
        every = self.config.every_steps
        return bool(self.groups) and (step in (0, num_steps) or (every > 0 and step % every == 0))

    def draw(self, policy: Any) -> dict[str, float]:
        """Metrics of completions by ``policy``, in reward units, nats and tokens.

        Raises:
            FloatingPointError: logits that are not finite: the policy has diverged.
        """
        prompts = [group.prompt_ids or [] for group in self.groups]
        keys = [f"{group.id}/0" for group in self.groups]
        drawn = self._engine(Policy(codec=self._codec, loaded=policy), prompts, keys, self.config.generation)
        token_groups = [TokenGroup(p, [d.token_ids]) for p, d in zip(prompts, drawn, strict=True)]
        policy_logps = group_logps(policy, token_groups, rows=self._rows)
        with self._reference(policy) as reference:
            ref_logps = group_logps(reference, token_groups, rows=self._rows)
        log_ratios = [p[0] - r[0] for p, r in zip(policy_logps, ref_logps, strict=True)]
        metrics = {
            "kl/mean": mean_kl(log_ratios),
            "length/mean": statistics.fmean(len(d.token_ids) for d in drawn),
            "finished/fraction": statistics.fmean(d.finished for d in drawn),
        }
        if self._mixture is None:
            return metrics
        texts = [
            self._codec.said(opening, each.text) for opening, each in zip(self._openings, drawn, strict=True)
        ]
        return {**metrics, **self._reward_metrics(texts)}

    def _reward_metrics(self, texts: Sequence[str]) -> dict[str, float]:
        """Of one completion for each prompt."""
        assert self._mixture is not None
        drawn = [
            Group(group.id, group.prompt, [Completion(text)], group.columns, source=group.source or group.id)
            for group, text in zip(self.groups, texts, strict=True)
        ]
        scores = score_drawn(self._mixture, drawn)
        total = [each.total[0] for each in scores]
        parts = {name: [each.parts[name][0] for each in scores] for name in self._mixture.specs}
        apart = self._mixture.disagreements(parts)
        return {
            "reward/mean": statistics.fmean(total),
            "reward/std": statistics.pstdev(total),
            **{f"reward_{name}/mean": statistics.fmean(values) for name, values in parts.items()},
            **{f"disagreement_{name}/mean": statistics.fmean(values) for name, values in apart.items()},
        }


def open_sampler(
    config: TrainConfig, parent: Manifest, referenced: Path, codec: TextCodec, policy: Any
) -> Sampler:
    """The sampler of a training: the first prompts of the select split by id that fit the policy's context.

    Args:
        config: of the training.
        parent: manifest of ``referenced``, with the scales of standardised rewards.
        referenced: artifact of schema ``referenced``.
    """

    @contextmanager
    def reference(policy: Any) -> Iterator[Any]:
        """With an adapter on the reference that model itself, adapter off; else loaded, and never kept."""
        if config.start_from is None and hasattr(policy, "disable_adapter"):
            with policy.disable_adapter():
                yield policy
        else:
            dtype = DTYPES[config.rows.parameter_dtype]
            yield load_model(config.model, dtype=dtype, revision=config.revision).to(policy.device)

    room = max_prompt_tokens(policy.config, config.samples.generation)
    fitting = (group for group in read_groups(referenced, "select") if len(group.prompt_ids or ()) <= room)
    groups = heapq.nsmallest(config.samples.num_prompts, fitting, key=lambda group: group.id)
    scales = {part: Scale(**scale) for part, scale in parent.facts.get("scales", {}).items()}
    return Sampler(config.samples, groups, codec, config.rows, reference, scales)


def collapse(start: dict[str, float], now: dict[str, float], spreads: float) -> str | None:
    """Why a trial counts as collapsed, or None.

    Args:
        start: metrics of the draw before the first step.
        now: metrics of the latest draw.
        spreads: standard deviations of the first draw's rewards that the mean may fall.
    """
    if not spreads or "reward/mean" not in now:
        return None
    floor = start["reward/mean"] - spreads * start["reward/std"]
    if now["reward/mean"] >= floor or start["reward/std"] == 0:
        return None
    return (
        f"mean reward of sampled completions fell from {start['reward/mean']:.4g} to "
        f"{now['reward/mean']:.4g}, below {floor:.4g}: beta is too low or the learning rate too high"
    )
