"""The gate under the error budget of a model: nothing is promoted that the budget does not hold."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from copg.digests import json_digest
from copg.errors import ArtifactError
from copg.evaluation.criteria import Criteria
from copg.evaluation.gate import Decision
from copg.evaluation.results import Evaluations, Measured, Outcome, cluster_column, judge
from copg.rewards.drawn import validated
from copg.tracking.budget import JUDGED, Budget, Spent
from copg.tracking.registry import Registry

GATE_FRACTION = "gate_fraction"
"""Setting of ``validate``, and tag of an entry of the budget."""
SPLIT_BY = "split_by"
"""Tag of an entry: the column whose equal values are on one side of the split; ``prompt`` where none is."""
BY_PROMPT = "prompt"
PROMOTED = "promoted"
"""How the note of an entry begins that passed."""


def judge_within_budget(
    found: Evaluations, criteria: Criteria, registry: Registry, *, budget: float, run_key: str = ""
) -> tuple[Outcome, Spent | None]:
    """As ``judge``, but nothing is promoted that the budget does not hold.

    A decision that hangs on gains alone spends its level once: the same policies on the same draws are the
    same decision, at the level of the first time. So is what the same run comes to on the same data, of the
    same candidate against the same champion: where its draws come out otherwise, on another machine say, the
    first decision stands. One that fails for another reason spends nothing.

    How each run's prompts were split is entered whatever comes of it: its trials were trained on all that was
    not held out.

    Args:
        found: evaluations of one run.
        criteria: with the level of a new decision.
        registry: of the model, which holds what was spent.
        budget: probability that any promotion of the model is a mistake.
        run_key: digest of all that a run does, its champion apart; empty: two are never known to be the same.

    Returns:
        The outcome, and what it spent, None for nothing.

    Raises:
        ArtifactError: the evaluation does not say where its policy lies.
        TrackingError: the registry cannot be reached, or refuses.
    """
    outcome = judge(found, criteria)
    best, entries = outcome.best, Budget(registry, total=budget)
    if split := _split_of(found):  # entered before it is compared: of two runs at once each sees the other
        entries.remember(str((found.folder or Path()).absolute()), split)
    if best is None or not outcome.decision.tested:
        return outcome, None
    if seen := _trained_on(split, entries):
        return replace(outcome, decision=Decision(False, (seen,))), None
    key, judged = _rests_on(found, best), _judged(found, best, run_key)
    if first := _decided_before(entries, key, judged):
        return replace(outcome, decision=first[0]), first[1]
    tags = {
        JUDGED: judged,
        "trial": best.name,
        "candidate": best.policy_digest,
        "groups": found.groups.digest,
    }
    spent = entries.spend(key, level=criteria.level, policy_uri=policy_uri(best), tags=tags)
    if spent.level != criteria.level:
        outcome = judge(found, replace(criteria, level=spent.level))
    decision = outcome.decision if spent.affordable else _unpaid(spent, budget)
    verdict = PROMOTED if decision.promoted else "not promoted"
    entries.note(key, f"{verdict}: {'; '.join(decision.reasons)}")
    return replace(outcome, decision=decision), spent


def _split_of(found: Evaluations) -> dict[str, str]:
    """What decides which prompts are in ``gate``, beside their hash; empty where that is not known."""
    fraction = validated(found.groups).get(GATE_FRACTION)
    if fraction is None:
        return {}
    column = cluster_column(found.groups) if found.clusters else BY_PROMPT
    return {GATE_FRACTION: repr(float(fraction)), SPLIT_BY: column}


def _trained_on(split: Mapping[str, str], entries: Budget) -> str:
    """Why gate prompts of today were trained on by earlier runs of the model; empty where none were.

    A prompt is in ``gate`` by its hash, or that of its cluster, and the fraction alone: new ones join, and
    none ever leaves, unless the fraction or the column of clusters changes.
    """
    if not split:
        return ""
    now, least = float(split[GATE_FRACTION]), entries.least(GATE_FRACTION)
    if least is not None and now > least:
        return (
            f"validate.gate_fraction={now:g} was {least:g} in an earlier run, which trained on prompts that "
            f"are in gate now: set it to {least:g}"
        )
    by, first = split[SPLIT_BY], entries.first(SPLIT_BY)
    if first is not None and by != first:
        return (
            f"prompts are split by {by!r}, and were by {first!r} in an earlier run, which trained on prompts "
            f"that are in gate now: split them by {first!r} (validate.columns.cluster), or go on under "
            "another name"
        )
    return ""


def policy_uri(best: Measured) -> str:
    """Where a policy lies that is to be registered.

    Raises:
        ArtifactError: its evaluation does not say so.
    """
    if not (best.policy_uri and best.policy_digest):
        raise ArtifactError(f"{best.directory}: {best.name} has no policy_uri or policy_digest to register")
    return best.policy_uri


def _rests_on(found: Evaluations, best: Measured) -> str:
    """Digest of all that decides: prompts, policies, and what they drew."""
    compared = [best, found.reference, *([found.champion] if found.champion else [])]
    return json_digest([found.groups.digest, *([one.policy_digest, one.manifest.digest] for one in compared)])


def _judged(found: Evaluations, best: Measured, run_key: str) -> str:
    """Digest of what is judged, whatever it drew; empty where nobody says which run it is."""
    champion = found.champion.policy_digest if found.champion else ""
    return json_digest([run_key, found.groups.digest, champion, best.policy_digest]) if run_key else ""


def _decided_before(entries: Budget, key: str, judged: str) -> tuple[Decision, Spent] | None:
    """What the same run came to on other draws; None where it is new, or on the very same draws."""
    found = entries.decided(judged)
    if found is None or entries.knows(key):
        return None
    spent, came = found
    told = f"decided before, by this very run of the same candidate, champion and data: {came}"
    return Decision(came.startswith(f"{PROMOTED}:"), (told,)), spent


def _unpaid(spent: Spent, budget: float) -> Decision:
    reason = (
        f"{spent.before:.2g} of promote.error.budget={budget:g} was spent before by {spent.place - 1} "
        f"promotions tried, which leaves no {spent.level:.2g}: raise the budget, or go on under another name "
        "with gate prompts that decided nothing so far"
    )
    return Decision(False, (reason,))
