"""The numbers of the report: every policy beside the reference, as plain values."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from copg.artifacts import Manifest
from copg.config import parse_config
from copg.errors import CopgError
from copg.evaluation.best_of import best_of
from copg.evaluation.draws import Draws
from copg.evaluation.estimates import Bounds, paired_difference, win_rate
from copg.evaluation.frontier import Point, frontier
from copg.evaluation.objective import own_beta, pick_beta
from copg.evaluation.results import Evaluations, Measured, Outcome, bounds_of, read_draws
from copg.progress import track
from copg.records import Estimate
from copg.report.policy import CHAMPION, MIX, REFERENCE, TRIAL, Policy
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.mixture import Mixture


def compare_policies(
    evaluations: Evaluations,
    outcome: Outcome,
    trainings: Sequence[Manifest],
    *,
    report_beta: float | None = None,
) -> list[Policy]:
    """Reference, champion, trials and their mixes, each compared with the reference on the gate split.

    Args:
        evaluations: of everyone.
        outcome: whose best trial it is.
        trainings: for their facts.
        report_beta: at which J of all is told; None: ``pick_beta``'s.
    """
    if report_beta is None:
        chosen = outcome.best.splits["gate"] if outcome.best else None
        report_beta = pick_beta([trial.splits["gate"] for trial in evaluations.trials], chosen)
    told = ({k: v for k, v in training.facts.items() if k != "ladder"} for training in trainings)
    facts = {each["trial"]: each for each in told}
    reference = evaluations.reference
    ref_draws = read_draws(reference, "gate")
    ref_added = _added_by_parts(reference, ref_draws)
    clusters = evaluations.clusters
    found = []
    baselines = [reference, *([evaluations.champion] if evaluations.champion else [])]
    for one in track([*baselines, *evaluations.candidates], "comparing policies"):
        role = _role(one, evaluations)
        drawn = read_draws(one, "gate")
        draws = Draws() if role == REFERENCE else drawn
        best = outcome.best is not None and one.name == outcome.best.name
        betas = (report_beta, own_beta(one.splits["gate"]) if role == TRIAL else None)
        objective, own = (evaluations.objective(draws, ref_draws, beta) for beta in betas)
        by_prompt = partial(paired_difference, bounds=bounds_of(one))
        found.append(
            Policy(
                name=one.name,
                role=role,
                status=_status(one, role, outcome),
                promoted=best and outcome.decision.promoted,
                best=best,
                gate=one.splits["gate"],
                select=one.splits["select"],
                gain=_paired(by_prompt, draws.rewards, ref_draws.rewards, clusters),
                win_rate=_paired(win_rate, draws.rewards, ref_draws.rewards, clusters),
                part_gains=_part_gains(draws.parts, ref_draws.parts, clusters, partial(bounds_of, one)),
                contributions=_part_gains(_added_by_parts(one, draws), ref_added, clusters),
                objective=objective,
                own_objective=own,
                of=one.of,
                weight=one.weight,
                num_drawn=sum(map(len, drawn.rewards.values())),
                best_of=best_of(ref_draws.rewards, bounds=bounds_of(one), clusters=clusters)
                if role == REFERENCE
                else (),
                training={"reason": one.manifest.facts.get("reason"), **facts.get(one.name, {})},
            )
        )
    return found


def _role(one: Measured, evaluations: Evaluations) -> str:
    if one is evaluations.reference or one is evaluations.champion:
        return REFERENCE if one is evaluations.reference else CHAMPION
    return TRIAL if one.weight is None else MIX


def _status(one: Measured, role: str, outcome: Outcome) -> str:
    if role in (REFERENCE, CHAMPION):
        return role
    if outcome.best is not None and one.name == outcome.best.name:
        return "promoted" if outcome.decision.promoted else "best, not promoted"
    if one.splits["select"].diverged:
        return "diverged"
    if not one.has_weights:
        return "mix of logits, never registered"
    return "over the KL budget" if one.name in outcome.excluded else "not chosen"


Parts = Mapping[str, Mapping[str, list[float]]]
"""By part, then prompt, one value a completion."""


def _part_gains(
    mine: Parts,
    theirs: Parts,
    clusters: Mapping[str, str],
    bounds: Callable[[str], Bounds] = lambda part: None,
) -> dict[str, Estimate]:
    gains = {
        part: _paired(partial(paired_difference, bounds=bounds(part)), mine[part], theirs[part], clusters)
        for part in theirs
        if part in mine
    }
    return {part: gain for part, gain in gains.items() if gain is not None}


def _added_by_parts(one: Measured, draws: Draws) -> Parts:
    """What each part added to the reward of each completion; empty where the evaluation does not know."""
    manifest = one.manifest
    try:
        specs = [parse_config(RewardSpec, each, where="rewards") for each in manifest.config["rewards"]]
        scales = {part: Scale(**scale) for part, scale in manifest.facts.get("scales", {}).items()}
        mixture = Mixture(specs, {}, scales)
        found: dict[str, dict[str, list[float]]] = {}
        for prompt in draws.rewards:
            values = {part: of_prompts[prompt] for part, of_prompts in draws.parts.items()}
            for part, added in mixture.contributions(values).items():
                found.setdefault(part, {})[prompt] = added
    except (CopgError, KeyError):  # of an earlier version, or of parts with other names
        return {}
    return found


def _paired(
    measure: Any,
    mine: Mapping[str, list[float]],
    theirs: Mapping[str, list[float]],
    clusters: Mapping[str, str],
) -> Estimate | None:
    """Of the prompts that both answered; None where there are fewer than two, or a value is not finite."""
    shared = sorted(mine.keys() & theirs.keys())
    together = [clusters.get(prompt, prompt) for prompt in shared]
    values = [v for prompt in shared for v in (*mine[prompt], *theirs[prompt])]
    if len(set(together)) < 2 or not all(math.isfinite(v) for v in values):
        return None
    found: Estimate = measure([mine[i] for i in shared], [theirs[i] for i in shared], clusters=together)
    return found


def on_frontier(policies: Sequence[Policy]) -> list[Point]:
    """The reference, then trials and mixes that nobody beats on reward and KL at once; none that diverged."""
    reference = next(policy for policy in policies if policy.role == REFERENCE)
    points = [
        Point(p.name, p.gate.kl.mean, p.gate.reward.mean)
        for p in policies
        if p.role in (TRIAL, MIX) and not p.diverged
    ]
    return frontier(points, reference_reward=reference.gate.reward.mean)


def report_numbers(policies: Sequence[Policy], outcome: Outcome, **context: Any) -> dict[str, Any]:
    """``report.json``: all that the page shows, without the texts; NaN as null."""
    return {
        **context,
        "decision": {
            "best": outcome.best.name if outcome.best else None,
            "promoted": outcome.decision.promoted,
            "reasons": list(outcome.decision.reasons),
            "excluded": outcome.excluded,
        },
        "policies": [
            plain({**asdict(policy), "hints": policy.hints, **_shares(policy)}) for policy in policies
        ],
        "frontier": [plain(asdict(point)) for point in on_frontier(policies)],
    }


def _shares(policy: Policy) -> dict[str, Any]:
    """J of ``report.json``, each with its share of the predicted gain."""
    found = {name: getattr(policy, name) for name in ("objective", "own_objective")}
    return {name: objective.facts() for name, objective in found.items() if objective}


def plain(value: Any) -> Any:
    """The same value for JSON, which knows no NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
