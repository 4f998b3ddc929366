"""Which trial is best, and whether it replaces the champion: pure functions of evaluations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from copg.evaluation.estimates import paired_difference
from copg.records import Estimate, Evaluation

DEFAULT_MAX_KL = 20.0
"""Nats a completion. A recipe should set its own: which KL is far depends on the length of completions."""
MaxKL = Annotated[float, Field(gt=0, description="at 0 only the reference itself would pass")]
MinGain = Annotated[float, Field(ge=0, description="below it a worse policy could pass")]
MIN_PROMPTS = 8
"""With fewer prompts the gate does not decide: ``copg.evaluation.estimates`` says how its intervals cover."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy as the gate sees it."""

    evaluation: Evaluation
    """On the gate split."""
    digest: str
    """Digest of its weights: equal digests are one policy."""
    rewards: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Rewards of each prompt's completions, by prompt id; empty where only the evaluation is known."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a candidate is promoted, and why."""

    promoted: bool
    reasons: tuple[str, ...]
    """A sentence a check: all of them when promoted, else those that failed."""


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


def choose_trial(evaluations: Sequence[Evaluation], *, max_kl: float) -> Evaluation | None:
    """The trial of highest mean reward among those that can be promoted; the smaller KL breaks a tie.

    Args:
        evaluations: of the trials, on the select split: the gate split stays unseen by the choice.
        max_kl: nats a completion; the upper end of a trial's interval may not exceed it.

    Returns:
        None when no trial can be promoted.
    """
    able = [e for e in evaluations if exclusion(e, max_kl=max_kl) is None]
    return min(able, key=lambda e: (-e.reward.mean, e.kl.mean, e.name), default=None)


def gain(candidate: Contender, other: Contender) -> Estimate:
    """Reward of the candidate minus the other's, over the prompts that both answered.

    Paired by prompt where the rewards of each prompt are known, which is narrower; else the two intervals
    are held apart, so that a gain's lower end is the candidate's lower minus the other's upper end.
    """
    mine, theirs = candidate.rewards, other.rewards
    if not (mine and theirs):
        a, b = candidate.evaluation.reward, other.evaluation.reward
        return Estimate(a.mean - b.mean, a.low - b.high, a.high - b.low)
    shared = sorted(mine.keys() & theirs.keys())
    if len(shared) < 2:
        return Estimate(math.nan, -math.inf, math.inf)
    return paired_difference([mine[i] for i in shared], [theirs[i] for i in shared])


def decide(
    candidate: Contender,
    reference: Contender,
    champion: Contender | None,
    *,
    max_kl: float,
    min_gain: float = 0.0,
    data_faults: Sequence[str] = (),
) -> Decision:
    """Promote a candidate that earns more with confidence, near enough to the reference, on valid data.

    Args:
        candidate: the best trial, chosen on the select split; all evaluations here are of the gate split.
        reference: what every candidate has to beat.
        champion: what the candidate would replace. The candidate itself is never compared with itself: where
            its digest is the champion's, it stands already.
        max_kl: nats a completion; the upper end of the candidate's interval may not exceed it.
        min_gain: reward units; the lower end of the gain's interval must exceed it.
        data_faults: what validation found wrong; none when the data are valid.
    """
    passed, failed = [], [f"the data are not valid: {fault}" for fault in data_faults]
    excluded = exclusion(candidate.evaluation, max_kl=max_kl)
    if excluded is None:
        passed.append(f"KL {interval(candidate.evaluation.kl)} nats is within {max_kl:g}")
    else:
        failed.append(excluded)
    for name, other in (("the reference", reference), ("the champion", champion)):
        if other is None:
            passed.append("there is no champion yet")
        elif other is champion and candidate.digest and candidate.digest == other.digest:
            passed.append("it is the champion itself, and is not compared with itself")
        else:
            better, sentence = _compare(candidate, other, name, min_gain)
            (passed if better else failed).append(sentence)
    return Decision(promoted=not failed, reasons=tuple(failed or passed))


def _compare(candidate: Contender, other: Contender, name: str, min_gain: float) -> tuple[bool, str]:
    found = gain(candidate, other)
    mine, theirs = candidate.rewards.keys(), other.rewards.keys()
    evaluated = min(candidate.evaluation.num_prompts, other.evaluation.num_prompts)
    num_prompts = len(mine & theirs) if mine and theirs else evaluated
    if num_prompts < MIN_PROMPTS:
        return False, f"{num_prompts} prompts are too few to compare with {name}, {MIN_PROMPTS} are needed"
    better = found.low > min_gain
    how = "over the same" if mine and theirs else "apart over"
    rewards = f"reward {interval(candidate.evaluation.reward)} against {interval(other.evaluation.reward)}"
    verdict = "is more than" if better else "is not surely more than"
    numbers = f"{interval(found)} {how} {num_prompts} prompts"
    return better, f"the gain over {name}, {numbers}, {verdict} {min_gain:g} ({rewards})"


def interval(estimate: Estimate) -> str:
    """As a reader sees it: ``0.523 [0.498, 0.549]``."""
    form = form_of(estimate)
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def form_of(estimate: Estimate) -> str:
    """How to print the numbers of an estimate: as many decimals as its interval can tell apart."""
    width = estimate.high - estimate.low
    largest = max(abs(estimate.low), abs(estimate.high))
    if not math.isfinite(width) or width <= 1e-9 * largest:
        return ".3g"
    return f".{max(0, 1 - math.floor(math.log10(width)))}f"
