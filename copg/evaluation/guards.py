"""What must not get worse while the reward gets better: signs that a reward is gamed, as conditions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from copg.evaluation.criteria import GuardConfig
from copg.evaluation.draws import Draws
from copg.evaluation.estimates import differences, surely_below

Floats = NDArray[np.float64]
ByPrompt = Mapping[str, Sequence[float]]
"""Values of each prompt's completions, by prompt id."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One condition, as it was measured."""

    name: str
    told: str
    """What was measured, and the margin, in words."""
    prompts: Sequence[str]
    """Ids of the prompts that were compared."""
    margins: Floats
    """[num_prompts] by how much each prompt keeps the margin: their mean is 0 or more where it is kept."""

    def probability(self, clusters: Mapping[str, str]) -> float:
        """The p-value of the hypothesis that the margin is kept."""
        together = [clusters.get(prompt, prompt) for prompt in self.prompts]
        return surely_below(self.margins, 0.0, clusters=together) if len(set(together)) > 1 else 1.0


def check_guards(
    candidate: Draws,
    reference: Draws,
    config: GuardConfig,
    *,
    logged: ByPrompt | None = None,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, bool]:
    """A sentence for each guard, and whether it holds: it fails where its margin is surely not kept.

    Surely over all of them: by Holm's procedure (1979) a policy that keeps every margin fails any of them
    with probability ``config.error`` at most.

    Args:
        candidate: on the gate split.
        reference: on the same prompts.
        config: the margins.
        logged: characters of the logged completions of these prompts; None where they are not known.
        clusters: what prompts that belong together share, by prompt id.
    """
    found = [
        *(_reward(part, candidate, reference, config) for part in config.rewards),
        _finished(candidate, reference, config),
        *_lengths(candidate, reference, logged or {}, config),
        _correlation(candidate, reference, config),
    ]
    guards = [guard for guard in found if guard is not None]
    failed = _rejected([guard.probability(clusters or {}) for guard in guards], config.error)
    return {
        f"guard {guard.name}: {guard.told}" + (" is surely over its margin" if fails else ""): not fails
        for guard, fails in zip(guards, failed, strict=True)
    }


def missing_guards(draws: Draws, config: GuardConfig) -> list[str]:
    """Guard rewards that were not measured."""
    return [part for part in config.rewards if part not in draws.parts]


def _rejected(probabilities: Sequence[float], error: float) -> list[bool]:
    """Which hypotheses Holm's procedure rejects: the smallest p-value at error / m, the next at / (m - 1)."""
    rejected = [False] * len(probabilities)
    for place, which in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        if probabilities[which] > error / (len(probabilities) - place):
            break
        rejected[which] = True
    return rejected


def _shared(one: ByPrompt, other: ByPrompt) -> list[str]:
    return sorted(one.keys() & other.keys())


def _reward(part: str, candidate: Draws, reference: Draws, config: GuardConfig) -> Guard | None:
    mine, theirs = candidate.parts.get(part, {}), reference.parts.get(part, {})
    prompts = _shared(mine, theirs)
    if len(prompts) < 2:
        return None
    change = differences([mine[i] for i in prompts], [theirs[i] for i in prompts])
    spread = float(np.std(np.concatenate([theirs[i] for i in prompts]), ddof=1))
    told = f"{change.mean():+.3g} from the reference's, a fall of {config.margin * spread:.3g} allowed"
    return Guard(part, told, prompts, change + config.margin * spread)


def _finished(candidate: Draws, reference: Draws, config: GuardConfig) -> Guard | None:
    mine, theirs = candidate.finished, reference.finished
    prompts = _shared(mine, theirs)
    if len(prompts) < 2:
        return None
    change = differences([mine[i] for i in prompts], [theirs[i] for i in prompts])
    told = f"share {change.mean():+.3g} from the reference's, a fall of {config.max_unfinished:g} allowed"
    return Guard("finished", told, prompts, change + config.max_unfinished)


def _lengths(candidate: Draws, reference: Draws, logged: ByPrompt, config: GuardConfig) -> list[Guard | None]:
    against_logs = None
    if _within(reference.characters, logged, config.max_length_ratio):  # else it never wrote as the logs do
        against_logs = _length("length against logs", candidate.characters, logged, config)
    own = _length("length", candidate.lengths, reference.lengths, config)
    return [own, against_logs]


def _length(name: str, mine: ByPrompt, theirs: ByPrompt, config: GuardConfig) -> Guard | None:
    prompts = _shared(mine, theirs)
    if len(prompts) < 2:
        return None
    ours, others = _means(mine, prompts), _means(theirs, prompts)
    if not others.mean() > 0:
        return None
    ratio, most = float(ours.mean() / others.mean()), config.max_length_ratio
    margins = most * others - ours if ratio >= 1 else most * ours - others
    told = f"{ratio:.2f} times as long, from {1 / most:.2f} to {most:.2f} allowed"
    return Guard(name, told, prompts, margins)


def _within(one: ByPrompt, other: ByPrompt, most: float) -> bool:
    prompts = _shared(one, other)
    if len(prompts) < 2:
        return False
    ours, others = float(_means(one, prompts).mean()), float(_means(other, prompts).mean())
    return ours > 0 and others > 0 and 1 / most <= ours / others <= most


def _means(values: ByPrompt, prompts: Sequence[str]) -> Floats:
    return np.array([np.mean(values[prompt]) for prompt in prompts], dtype=np.float64)


def _correlation(candidate: Draws, reference: Draws, config: GuardConfig) -> Guard | None:
    """By the influence of each prompt on both correlations: their mean has the error of the difference."""
    prompts = _shared(candidate.lengths, reference.lengths)
    before, after = _influence(reference, prompts), _influence(candidate, prompts)
    if before is None or after is None:
        return None
    told = (
        f"correlation of reward and length {after.mean():.2f} from {before.mean():.2f}, a rise of "
        f"{config.max_correlation:g} allowed"
    )
    if not (before.any() and after.any()):
        told += " (0 where reward or length does not vary)"
    return Guard("correlation", told, prompts, config.max_correlation - (after - before))


def _influence(draws: Draws, prompts: Sequence[str]) -> Floats | None:
    """[num_prompts] whose mean is the correlation over all completions: 0 where one of both does not vary.

    None where there are fewer than two prompts, or a reward is not finite.

    Influence of a correlation r at standardised x, y: x y - r (x^2 + y^2) / 2.
    """
    if len(prompts) < 2 or not all(prompt in draws.rewards for prompt in prompts):
        return None
    owner = np.repeat(np.arange(len(prompts)), [len(draws.lengths[prompt]) for prompt in prompts])
    x, y = (
        np.concatenate([np.asarray(of[prompt], dtype=np.float64) for prompt in prompts])
        for of in (draws.rewards, draws.lengths)
    )
    if not math.isfinite(x.std()):
        return None
    if not all(np.ptp(values) > 1e-14 * np.abs(values).max() for values in (x, y)):  # more than rounding
        return np.zeros(len(prompts))
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    correlation = float((x * y).mean())
    each = x * y - correlation * (x**2 + y**2) / 2 + correlation
    count = np.bincount(owner)
    return np.asarray(np.bincount(owner, weights=each) / count, dtype=np.float64)
