"""The model card of a registered policy, in Markdown: only what was measured or is known."""

from collections.abc import Mapping
from typing import Any

from copg import __version__
from copg.evaluation.gate import Decision
from copg.evaluation.objective import Objective, negated, pick_beta
from copg.evaluation.results import Evaluations, Measured, read_draws
from copg.records import Evaluation
from copg.rewards.tables import interval


def model_card(
    model_name: str,
    evaluations: Evaluations,
    best: Measured,
    decision: Decision,
    tags: Mapping[str, str],
    *,
    report_beta: float | None = None,
) -> str:
    """What the policy is, how it was made, what it earned, and what that was measured against.

    Args:
        model_name: of the registered model.
        evaluations: of the run that made the policy.
        best: evaluation of the policy.
        decision: of the gate.
        tags: digests of data, model, rewards and code.
        report_beta: at which J is told, reward units per nat; None: ``pick_beta``'s.
    """
    groups, champion = evaluations.groups, evaluations.champion
    others = [evaluations.reference, *([champion] if champion else [])]
    lines = [
        f"# {model_name}: {best.name}",
        "",
        *_origin(best),
        "",
        "## Measured",
        "",
        "| policy | reward | KL, nats | length, tokens | finished |",
        "| --- | --- | --- | --- | --- |",
        *(_line(one.splits["gate"]) for one in (best, *others)),
        "",
        f"Means over {best.splits['gate'].num_prompts} prompts of the gate split with 95 % intervals over "
        "prompts; neither training nor the choice among trials looked at that split. KL is the policy's from "
        "the reference, a completion.",
        "",
        *_worth(objective_of(evaluations, best, report_beta)),
        "## Promoted" if decision.promoted else "## Not promoted",
        "",
        *(f"- {reason}" for reason in decision.reasons),
        "",
        "## Made from",
        "",
        f"- groups: {groups.rows} prompts, digest `{groups.digest}`",
        f"- policy: `{best.policy_digest}`",
        *(f"- {name}: `{value}`" for name, value in sorted(tags.items())),
        f"- copg {__version__}",
        "",
    ]
    return "\n".join(lines)


def objective_of(evaluations: Evaluations, best: Measured, beta: float | None) -> Objective | None:
    """J on the gate split and what it gains, at the beta that the report has as well; None without one."""
    if beta is None:
        beta = pick_beta([trial.splits["gate"] for trial in evaluations.trials], best.splits["gate"])
    draws, reference = (read_draws(one, "gate") for one in (best, evaluations.reference))
    return evaluations.objective(draws, reference, beta)


def _worth(found: Objective | None) -> list[str]:
    if found is None:
        return []
    more = f"{interval(found.gain)} more than the reference's"
    if found.below_reference:
        more = f"surely worth less than the reference, by {interval(negated(found.gain))}"
    share = f" That is {interval(found.share)} of what the logs predict it can gain." if found.share else ""
    return [
        f"Its J, reward less {found.beta:g} reward units a nat, is {interval(found.value)}: {more}, on the "
        f"same prompts.{share}",
        "",
    ]


def _origin(best: Measured) -> list[str]:
    evaluation, config = best.splits["gate"], best.manifest.config
    start = f" from `{config['model']}`" if config.get("model") else ""
    revision = f" at `{config['revision']}`" if config.get("revision") else ""
    beta = "" if evaluation.beta is None else f" with beta {evaluation.beta:g} reward units per nat"
    method = evaluation.method or "an unnamed method"
    scaled = "" if best.weight is None else f", its adapter counted {best.weight:g} times"
    lines = [f"A policy trained offline{start}{revision} by {method}{beta}{scaled}, for this reward:", ""]
    rewards = config.get("rewards") or []
    lines += [
        f"- {reward['weight']:g} x `{reward['name']}`{_params(reward)}{_ensemble(reward)}"
        for reward in rewards
    ]
    return lines if rewards else [lines[0].replace(", for this reward:", ".")]


def _params(reward: Mapping[str, object]) -> str:
    params = reward.get("params")
    return f" `{params}`" if params else ""


def _ensemble(reward: Mapping[str, Any]) -> str:
    found = reward.get("ensemble")
    if not found:
        return ""
    return (
        f", in ensemble `{found['name']}`, which counts by the mean of its members less "
        f"{found['coefficient']:g} standard deviations over them"
    )


def _line(evaluation: Evaluation) -> str:
    cells = [interval(evaluation.reward), interval(evaluation.kl), interval(evaluation.length)]
    finished = f"{100 * evaluation.finished_fraction:.0f} %"
    return f"| {evaluation.name} | {' | '.join(cells)} | {finished} |"
