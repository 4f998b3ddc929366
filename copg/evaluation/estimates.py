"""Estimates over prompts with 95 % intervals, and the KL divergence between policy and reference.

Values come as one list a prompt (its samples). The prompt is the unit of every interval: samples of one
prompt are alike, and an interval that took them for independent would be too narrow (at four samples a
prompt it held the truth 77 times in 100, not 95). So are prompts of one document: where ``clusters`` says
which belong together, the cluster is the unit.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from copg.evaluation.betting import betting_interval
from copg.evaluation.skewed import is_heavy, probability_below, skewed_interval
from copg.records import Estimate

Samples = Sequence[Sequence[float]]
"""[num_prompts][num_samples], as many samples a prompt as there are, at least one."""
Clusters = Sequence[Hashable]
"""[num_prompts] what prompts that belong together share."""
Bounds = tuple[float, float] | None
"""Lowest and highest value that a sample can have; None where there is none."""
Floats = NDArray[np.float64]

TAIL = 0.025
"""Probability that an end of an interval of 95 % is on the wrong side of the truth."""
_SEED = 20240626


def estimate(
    samples: Samples, *, bounds: Bounds = None, clusters: Clusters | None = None, tail: float = TAIL
) -> Estimate:
    """Mean over prompts of the mean over each prompt's samples, with its interval.

    Of bounded values the interval is exact, by betting (``copg.evaluation.betting``): two-valued and skewed
    rewards are the rule, and there each end of a bootstrap of 95 % missed up to 65 times in 100. Of others it
    is Student's t with the skewness taken out (``copg.evaluation.skewed``). No draw is made: the same values
    have the same interval.

    Args:
        samples: of each prompt.
        bounds: of a sample.
        clusters: of each prompt; None where each stands for itself.
        tail: probability that the low end is above the mean, and that the high end is below it.

    Raises:
        ValueError: fewer than two prompts or clusters, a prompt without samples, or a value that is not
            finite or out of bounds.
    """
    return _interval(_prompt_means(samples), bounds, clusters, tail)


def kl_k1(log_ratios: Sequence[float]) -> Floats:
    """An unbiased estimate of KL(policy || reference) a completion from its log-ratio alone.

    k1 of http://joschu.net/blog/kl-approx.html: the mean of log pi(y) - log ref(y) over y drawn from pi. A
    completion's value may be negative; the mean over many is not. It is reported beside the sum over the
    whole vocabulary (``copg.lm.divergence``), which has the same mean and less noise.

    Args:
        log_ratios: policy minus reference, nats, summed over the tokens of completions that the policy
            itself drew at temperature 1 without truncation.
    """
    return np.asarray(log_ratios, dtype=np.float64)


def paired_difference(
    samples: Samples,
    other: Samples,
    *,
    bounds: Bounds = None,
    clusters: Clusters | None = None,
    tail: float = TAIL,
) -> Estimate:
    """Mean over the same prompts of one policy's mean minus another's, with its interval.

    What the prompts share (an easy one is easy for both) cancels, so this is narrower than two intervals
    set side by side, the more so when both drew with the same noise.

    Raises:
        ValueError: other numbers of prompts, or as for ``estimate``.
    """
    return _interval(differences(samples, other), _of_difference(bounds), clusters, tail)


def differences(samples: Samples, other: Samples) -> Floats:
    """[num_prompts] mean of each prompt's samples under one policy minus that under another.

    Raises:
        ValueError: as for ``paired_difference``.
    """
    _same_prompts(samples, other)
    return _prompt_means(samples) - _prompt_means(other)


def surely_below(values: Floats, threshold: float, *, clusters: Clusters | None = None) -> float:
    """The p-value of the hypothesis that the mean over prompts is ``threshold`` or more.

    Args:
        values: [num_prompts], with no bounds.
        threshold: in their units.
        clusters: as for ``estimate``.
    """
    return probability_below(_linearised(*_units(values, clusters)), threshold)


def heavy_tail(samples: Samples, *, clusters: Clusters | None = None) -> bool:
    """Whether few prompts decide the mean, so that an interval without bounds may miss more than it says."""
    return is_heavy(_linearised(*_units(_prompt_means(samples), clusters)))


def win_rate(samples: Samples, other: Samples, *, clusters: Clusters | None = None) -> Estimate:
    """Probability that a completion of one policy earns more than one of another for the same prompt.

    Over all pairs of the prompt's completions, a tie counting half, then over prompts; .5 is no difference.

    Raises:
        ValueError: other numbers of prompts, or as for ``estimate``.
    """
    _same_prompts(samples, other)
    for values in (samples, other):
        _prompt_means(values)  # refuses what cannot be compared
    wins = []
    for mine, theirs in zip(samples, other, strict=True):
        gap = np.subtract.outer(np.asarray(mine, dtype=np.float64), np.asarray(theirs, dtype=np.float64))
        wins.append(float((gap > 0).mean() + (gap == 0).mean() / 2))
    return _interval(np.array(wins), (0.0, 1.0), clusters, TAIL)


def _of_difference(bounds: Bounds) -> Bounds:
    return None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])


def _same_prompts(samples: Samples, other: Samples) -> None:
    if len(samples) != len(other):
        raise ValueError(f"{len(samples)} prompts and {len(other)} prompts cannot be paired")


def _prompt_means(samples: Samples) -> Floats:
    """[num_prompts] mean of each prompt's samples."""
    means = np.empty(len(samples))
    for prompt, values in enumerate(samples):
        if not len(values):
            raise ValueError(f"prompt {prompt} has no samples")
        means[prompt] = np.mean(np.asarray(values, dtype=np.float64))
        if not math.isfinite(means[prompt]):
            raise ValueError(f"prompt {prompt} has a value that is not finite: {list(values)}")
    return means


def _interval(means: Floats, bounds: Bounds, clusters: Clusters | None, tail: float) -> Estimate:
    if len(means) < 2:
        raise ValueError(f"{len(means)} prompts have no interval; at least 2 are needed")
    units, sizes = _units(means, clusters)
    if len(units) < 2:
        raise ValueError(f"{len(units)} clusters have no interval; at least 2 are needed")
    if bounds is None:
        low, high = skewed_interval(_linearised(units, sizes), tail)
        mean = float(means.mean())
        return Estimate(mean, *(mean, mean) if low == high else (low, high))
    _check_bounds(units, bounds)
    order = np.random.default_rng(_SEED).permutation(len(units))  # values may come sorted
    low, high = betting_interval(units[order], (sizes / sizes.max())[order], bounds=bounds, tail=tail)
    mean = min(max(float(means.mean()), bounds[0]), bounds[1])
    return Estimate(mean=mean, low=min(low, mean), high=max(high, mean))


def _check_bounds(values: Floats, bounds: tuple[float, float]) -> None:
    low, high = bounds
    beyond = 1e-9 * max(high - low, abs(low), abs(high))  # sums of rounded parts
    if values.min() < low - beyond or values.max() > high + beyond:
        worst = values.min() if values.min() < low - beyond else values.max()
        raise ValueError(f"a value of {worst:g} lies outside of its bounds [{low:g}, {high:g}]")


def _units(means: Floats, clusters: Clusters | None) -> tuple[Floats, Floats]:
    """[U] the mean of each cluster, and how many prompts it has."""
    if clusters is None:
        return means, np.ones(len(means))
    numbers: dict[Hashable, int] = {}
    of_prompt = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], np.int64)
    sizes = np.bincount(of_prompt).astype(np.float64)
    return np.bincount(of_prompt, weights=means) / sizes, sizes


def _linearised(units: Floats, sizes: Floats) -> Floats:
    """[U] values whose mean and its error are those of the mean over prompts."""
    mean = float((units * sizes).sum() / sizes.sum())
    return units if (sizes == sizes[0]).all() else mean + (units - mean) * sizes / sizes.mean()
