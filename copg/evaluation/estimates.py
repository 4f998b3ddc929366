"""Estimates over prompts with 95 % intervals, and the KL divergence between policy and reference.

Values come as one list a prompt (its samples). The prompt is the unit of every interval: samples of one
prompt are alike, and an interval that took them for independent would be too narrow (at four samples a
prompt it held the truth 77 times in 100, not 95).
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from copg.records import Estimate

Samples = Sequence[Sequence[float]]
"""[num_prompts][num_samples], as many samples a prompt as there are, at least one."""
Floats = NDArray[np.float64]

NUM_RESAMPLES = 10_000
_SEED = 20240626
_CELLS = 1 << 22
"""Prompts drawn at a time while resampling, which takes at most 64 MiB for any number of prompts."""


def estimate(samples: Samples, *, num_resamples: int = NUM_RESAMPLES) -> Estimate:
    r"""Mean over prompts of the mean over each prompt's samples, with its 95 % interval.

    The interval is the expanded percentile bootstrap over prompts (Hesterberg 2015, section 5.3,
    https://doi.org/10.1080/00031305.2015.1089789): quantiles of the means of ``num_resamples`` resamples of
    the prompts, taken at Phi(-sqrt(n/(n-1)) t_{.025,n-1}) rather than .025. Why this one: rewards are often
    bounded or two-valued and a KL is skewed, so the interval should not be symmetric as a t-interval is;
    and the plain percentile interval is too narrow for few prompts (for n = 8 normal prompts it held the
    truth 90 times in 100, this one 94; equal from n = 128 on). The seed is fixed: the same values have the
    same interval.

    Raises:
        ValueError: fewer than two prompts, a prompt without samples, or a value that is not finite.
    """
    return _interval(_prompt_means(samples), num_resamples)


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


def paired_difference(samples: Samples, other: Samples) -> Estimate:
    """Mean over the same prompts of one policy's mean minus another's, with its 95 % interval.

    What the prompts share (an easy one is easy for both) cancels, so this is narrower than two intervals
    set side by side, the more so when both drew with the same noise.

    Raises:
        ValueError: other numbers of prompts, or as for ``estimate``.
    """
    _same_prompts(samples, other)
    return _interval(_prompt_means(samples) - _prompt_means(other))


def win_rate(samples: Samples, other: Samples) -> Estimate:
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
    return _interval(np.array(wins))


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


def _interval(means: Floats, num_resamples: int = NUM_RESAMPLES) -> Estimate:
    n = len(means)
    if n < 2:
        raise ValueError(f"{n} prompts have no interval; at least 2 are needed")
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _t_quantile(n - 1))
    low, high = np.quantile(_resampled_means(means, num_resamples), (tail, 1 - tail))
    return Estimate(mean=float(means.mean()), low=float(low), high=float(high))


def _resampled_means(means: Floats, num_resamples: int) -> Floats:
    """[num_resamples] means of as many prompts, drawn with replacement."""
    n = len(means)
    if means.min() == means.max():
        return means[:1]
    rng = np.random.default_rng(_SEED)
    rows = max(1, _CELLS // n)
    parts = [
        means[rng.integers(0, n, (min(rows, num_resamples - done), n))].mean(axis=1)
        for done in range(0, num_resamples, rows)
    ]
    return np.concatenate(parts)


def _t_quantile(freedom: int) -> float:
    """Student's t at .975: expansion 26.7.5 of Abramowitz and Stegun, within 1 % from 2 degrees on.

    At one degree it is 11.3 for 12.7, and either puts the quantile at the ends of the resampled means.
    """
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))
