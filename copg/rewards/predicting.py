"""The ladder of betas out of logged rewards, by log-mean-exp over each prompt's completions."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from copg.records import Estimate, Group
from copg.rewards.ladder import Base, Ladder, Rung
from copg.rewards.tilting import Floats, Tilted, corrected, halved, support_of, tilt

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Of the support: where the rungs stand."""
MIN_EFFECTIVE = 5.0
"""Completions of equal weight: with at least so many the KL is estimated; with fewer it is so only where half
of the completions come to the same within ``SAME``, and is a lower bound where they do not."""
SAME = 0.05
MAX_PROMPTS, MAX_SOUGHT = 4096, 512
"""Looked at, evenly spread over all there are; and while betas are sought."""
LEAST = 1e-12
"""Of the mean spread within a prompt, of which one outlier may be the most: the smallest beta looked at."""
_STEPS = 32


@np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore")
def build_ladder(
    rewards: Iterable[Floats],
    *,
    base: Base,
    ref_logps: Iterable[Floats] | None = None,
) -> Ladder:
    """The ladder of some prompts.

    Where completions are the reference's own draws, K of them stand for it with 1/K each, and the bias of
    so few is taken off by leaving each out once (the jackknife, over completions). Weighted ones are taken
    for all there is, since nothing is known of how they were drawn. Intervals are of 95 % over prompts, by
    leaving each prompt out once, which for a mean is its standard error.

    Args:
        rewards: [K] of each prompt, in reward units; prompts of one completion are passed over.
        base: whose completions they are.
        ref_logps: with ``weighted``: [K] nats of the same prompts under the reference.
    """
    tables = _tables(rewards, ref_logps)
    num_prompts = sum(len(values) for values, _ in tables)
    support = _mean([support_of(values, logits) for values, logits in tables])
    spread = _mean([values.std(axis=1, ddof=1) for values, _ in tables])
    if not (0 < support < math.inf and 0 < spread < math.inf):
        return Ladder(base, support if math.isfinite(support) else 0.0, num_prompts, [])
    every = max(1, -(-num_prompts // MAX_SOUGHT))
    sought = [(values[::every], logits[::every]) for values, logits in tables]
    betas = dict.fromkeys(_beta_at(share * support, sought, spread) for share in SHARES)
    halves = [halved(*table) for table in tables]
    rungs = [_rung(beta, tables, halves, draws=base != "weighted") for beta in betas]
    return Ladder(base, support, num_prompts, rungs)


class Weighing:
    """Rewards and reference log-probabilities by prompt, for a ladder of completions that others drew."""

    def __init__(self) -> None:
        self._rewards: list[Floats] = []
        self._logps: list[Floats] = []

    def add(self, groups: Iterable[Group]) -> None:
        """Groups whose completions have both; a completion that lacks one is passed over."""
        for group in groups:
            pairs = [(c.reward, c.ref_logps) for c in group.completions]
            known = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
            if len(known) > 1:
                self._rewards.append(known[:, 0])
                self._logps.append(known[:, 1])

    @property
    def spread(self) -> float:
        """Standard deviation of rewards within a prompt, mean over prompts, reward units."""
        return float(np.mean([rewards.std(ddof=1) for rewards in self._rewards])) if self._rewards else 0.0

    def ladder(self) -> Ladder:
        """Each prompt's completions count by what the reference gives them."""
        return build_ladder(self._rewards, base="weighted", ref_logps=self._logps)


Table = tuple[Floats, Floats]
"""[G, K] rewards and logits of the base, of all prompts of K completions."""


def _tables(rewards: Iterable[Floats], ref_logps: Iterable[Floats] | None) -> list[Table]:
    by_size: dict[int, list[tuple[Floats, Floats]]] = {}
    logits = iter(ref_logps) if ref_logps is not None else None
    for values in rewards:
        of_base = next(logits) if logits is not None else np.zeros(len(values))
        if len(values) > 1:
            by_size.setdefault(len(values), []).append((values, of_base))
    every = max(1, -(-sum(map(len, by_size.values())) // MAX_PROMPTS))
    kept = [groups[::every] for groups in by_size.values()]
    return [(np.array([v for v, _ in groups]), np.array([b for _, b in groups])) for groups in kept]


def _beta_at(kl: float, tables: Sequence[Table], spread: float) -> float:
    """The beta of two digits whose optimum, on these completions, lies ``kl`` nats away."""
    low, high = math.log(spread * LEAST), math.log(spread * 1e4)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _mean([tilt(*table, math.exp(middle)).kl for table in tables]) > kl:
            low = middle
        else:
            high = middle
    return float(f"{math.exp(high):.2g}")


def _rung(beta: float, tables: Sequence[Table], halves: Sequence[Table], *, draws: bool) -> Rung:
    """At one beta; of ``draws`` of the base the bias is taken off."""
    plain = [tilt(*table, beta) for table in tables]
    found = [_found(*table, beta, draws=draws) for table in tables]
    fewer = [_found(*half, beta, draws=draws) for half in halves]
    most = max(float(rewards.max()) for rewards, _ in tables)
    effective = _mean([each.effective for each in plain])
    kl, objective = (_estimate([getattr(each, name) for each in found]) for name in ("kl", "objective"))
    reward = _estimate([each.reward for each in found])
    reward = Estimate(*(min(value, most) for value in (reward.mean, reward.low, reward.high)))
    grows = _mean([each.kl for each in fewer]) < (1 - SAME) * kl.mean
    return Rung(
        beta=beta,
        reward=reward,
        kl=kl,
        objective=objective,
        gain=objective.mean - _mean([each.base_reward for each in plain]),
        effective=effective,
        lower_bound=bool(effective < MIN_EFFECTIVE and grows),
    )


def _found(rewards: Floats, logits: Floats, beta: float, *, draws: bool) -> Tilted:
    return corrected(rewards, beta) if draws and rewards.shape[1] > 1 else tilt(rewards, logits, beta)


def _mean(parts: Sequence[Floats]) -> float:
    return float(np.concatenate(parts).mean()) if parts else math.nan


def _estimate(parts: Sequence[Floats]) -> Estimate:
    values = np.concatenate(parts)
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(mean, mean - error, mean + error)
