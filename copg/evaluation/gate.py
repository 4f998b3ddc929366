"""Which trial is best, and whether it replaces the champion: pure functions of evaluations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from copg.evaluation.criteria import Criteria
from copg.evaluation.estimates import TAIL, Bounds, paired_difference
from copg.evaluation.power import MIN_PROMPTS, fewest_prompts
from copg.records import Estimate, Evaluation
from copg.rewards.tables import interval


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy as the gate sees it."""

    evaluation: Evaluation
    """On the gate split."""
    digest: str
    """Digest of its weights: equal digests are one policy."""
    rewards: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Rewards of each prompt's completions, by prompt id; empty where only the evaluation is known."""
    bounds: Bounds = None
    """Lowest and highest reward there can be; None where there is none."""
    clusters: Mapping[str, str] = field(default_factory=dict)
    """What prompts that belong together share, by prompt id; a prompt without one stands for itself."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a candidate is promoted, and why."""

    promoted: bool
    reasons: tuple[str, ...]
    """A sentence a check: all of them when promoted, else those that failed."""
    tested: bool = False
    """Whether it hung on gains alone, so that chance could have promoted: it spends of the error budget."""


def exclusion(evaluation: Evaluation, *, max_kl: float) -> str | None:
    """Why a trial cannot be promoted whatever it earns; None when it can."""
    name, kl = evaluation.name, evaluation.kl
    if evaluation.diverged:
        return f"{name} diverged in training"
    if not all(math.isfinite(x) for x in (evaluation.reward.mean, evaluation.reward.low, kl.mean, kl.high)):
        return f"{name} has a reward or KL that is not finite"
    if kl.high > max_kl:
        return f"{name} is too far from the reference: KL {interval(kl)} nats, its upper end over {max_kl:g}"
    return None


def choose_trial(
    trials: Sequence[Contender], reference: Contender | None = None, *, max_kl: float
) -> Contender | None:
    """The nearest to the reference among the trials that are as good as the best as far as one can tell.

    As good: the interval of the best one's paired gain over it includes 0. It must surely earn more than the
    reference itself; where none does, or none is compared with it, the best mean is taken, and the smaller
    KL breaks a tie.

    Args:
        trials: on the select split: the gate split stays unseen by the choice.
        reference: on the same split.
        max_kl: nats a completion; the upper end of a trial's interval may not exceed it.

    Returns:
        None when no trial can be promoted.
    """
    able = [each for each in trials if exclusion(each.evaluation, max_kl=max_kl) is None]
    best = min(able, key=_by_reward, default=None)
    if best is None or reference is None:
        return best
    alike = [each for each in able if each is best or gain(best, each).low <= 0]
    sure = [each for each in alike if gain(each, reference).low > 0]
    return min(sure, key=lambda each: (each.evaluation.kl.mean, _by_reward(each)), default=best)


def _by_reward(one: Contender) -> tuple[float, float, str]:
    return -one.evaluation.reward.mean, one.evaluation.kl.mean, one.evaluation.name


def gain(candidate: Contender, other: Contender, *, tail: float = TAIL) -> Estimate:
    """Reward of the candidate minus the other's, over the prompts that both answered.

    Paired by prompt where the rewards of each prompt are known, which is narrower; else the two intervals
    are held apart, so that a gain's lower end is the candidate's lower minus the other's upper end.

    Args:
        candidate: whose gain it is.
        other: whom it is measured against.
        tail: probability that an end is on the wrong side; of intervals held apart it is that of theirs.
    """
    mine, theirs = candidate.rewards, other.rewards
    if not (mine and theirs):
        a, b = candidate.evaluation.reward, other.evaluation.reward
        return Estimate(a.mean - b.mean, a.low - b.high, a.high - b.low)
    shared = sorted(mine.keys() & theirs.keys())
    clusters = [candidate.clusters.get(prompt, prompt) for prompt in shared]
    if len(set(clusters)) < 2:
        return Estimate(math.nan, -math.inf, math.inf)
    bounds = candidate.bounds if candidate.bounds == other.bounds else None
    values = [mine[i] for i in shared], [theirs[i] for i in shared]
    return paired_difference(*values, bounds=bounds, clusters=clusters, tail=tail)


def decide(
    candidate: Contender,
    reference: Contender,
    champion: Contender | None,
    *,
    criteria: Criteria,
    data_faults: Sequence[str] = (),
    guards: Mapping[str, bool] | None = None,
) -> Decision:
    """Promote a candidate that earns more with confidence, near enough to the reference, on valid data.

    A candidate that earns no more than the better of reference and champion passes at most with probability
    ``criteria.level``: it has to be better than both, each at that level.

    Args:
        candidate: the best trial, chosen on the select split; all evaluations here are of the gate split.
        reference: what every candidate has to beat.
        champion: what the candidate would replace. The candidate itself is never compared with itself: where
            its digest is the champion's, it stands already.
        criteria: bounds of KL and gain, and the level.
        data_faults: what validation found wrong; none when the data are valid.
        guards: a sentence a guard, and whether it holds.
    """
    passed, failed = [], [f"the data are not valid: {fault}" for fault in data_faults]
    excluded = exclusion(candidate.evaluation, max_kl=criteria.max_kl)
    if excluded is None:
        passed.append(f"KL {interval(candidate.evaluation.kl)} nats is within {criteria.max_kl:g}")
    else:
        failed.append(excluded)
    for sentence, holds in (guards or {}).items():
        (passed if holds else failed).append(sentence)
    free, compared = not failed, 0
    for name, other in (("the reference", reference), ("the champion", champion)):
        if other is None:
            passed.append("there is no champion yet")
        elif other is champion and candidate.digest and candidate.digest == other.digest:
            passed.append("it is the champion itself, and is not compared with itself")
        elif few := _too_few(candidate, other, name, criteria.level):
            failed.append(few)
            free = False
        else:
            better, sentence = _compare(candidate, other, name, criteria)
            (passed if better else failed).append(sentence)
            compared += 1
    stands = champion is not None and bool(candidate.digest) and candidate.digest == champion.digest
    return Decision(
        promoted=not failed, reasons=tuple(failed or passed), tested=free and compared > 0 and not stands
    )


def _num_prompts(candidate: Contender, other: Contender) -> int:
    """Units of the comparison: prompts, or clusters of them."""
    mine, theirs = candidate.rewards.keys(), other.rewards.keys()
    if mine and theirs:
        return len({candidate.clusters.get(prompt, prompt) for prompt in mine & theirs})
    return min(candidate.evaluation.num_prompts, other.evaluation.num_prompts)


def _units_told(candidate: Contender, other: Contender) -> str:
    """What the comparison is over, in words."""
    units, shared = _num_prompts(candidate, other), len(candidate.rewards.keys() & other.rewards.keys())
    return f"{shared} prompts of {units} clusters" if units < shared else f"{units} prompts"


def _too_few(candidate: Contender, other: Contender, name: str, level: float) -> str:
    """Why no gain could be seen; empty where one could."""
    bounded = candidate.bounds is not None and candidate.bounds == other.bounds
    found, least = _num_prompts(candidate, other), fewest_prompts(level) if bounded else MIN_PROMPTS
    return f"{found} prompts are too few to compare with {name}, {least} are needed" if found < least else ""


def _compare(candidate: Contender, other: Contender, name: str, criteria: Criteria) -> tuple[bool, str]:
    found = gain(candidate, other, tail=criteria.level)
    better = found.low > criteria.min_gain
    how = "over the same" if candidate.rewards and other.rewards else "apart over"
    rewards = f"reward {interval(candidate.evaluation.reward)} against {interval(other.evaluation.reward)}"
    verdict = "is more than" if better else "is not surely more than"
    level = f"at error {criteria.level:.2g}"
    numbers = f"{interval(found)} {level} {how} {_units_told(candidate, other)}"
    return better, f"the gain over {name}, {numbers}, {verdict} {criteria.min_gain:g} ({rewards})"
