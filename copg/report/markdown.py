"""The report in a few lines of Markdown, for pages that cannot show all of it."""

import re
from collections.abc import Sequence

from copg.evaluation.results import Outcome
from copg.records import Estimate
from copg.report.policy import MIX, REFERENCE, Policy
from copg.report.texts import few
from copg.rewards.tables import interval

COLUMNS = (
    *("policy", "reward", "KL, nats", "gain over the reference", "gain in J", "win rate"),
    *("length, tokens", "status"),
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def render_markdown(
    name: str, policies: Sequence[Policy], outcome: Outcome, warnings: Sequence[str] = ()
) -> str:
    """Decision, reasons, every policy with its intervals, and the first of what the stages warned of."""
    best = outcome.best.name if outcome.best else None
    if best is None:
        decision = "No trial can be promoted."
    else:
        decision = (
            f"**{plain(best)}** is {'promoted' if outcome.decision.promoted else 'best, not promoted'}."
        )
    lines = [
        f"# {plain(name)}",
        "",
        decision,
        "",
        *(f"- {plain(reason)}" for reason in outcome.decision.reasons),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{' --- |' * len(COLUMNS)}",
        *(_line(policy) for policy in policies),
        "",
        *_best_of(policies),
        *_mixes(policies),
        f"Means on the gate split with 95 % intervals over prompts.{_price(policies)}",
        "",
        *(f"- {plain(policy.name)}: {plain(hint)}" for policy in policies for hint in policy.hints),
        "",
        *(["Warnings:", "", *(f"- {plain(line)}" for line in few(warnings)), ""] if warnings else []),
    ]
    return "\n".join(lines)


def _price(policies: Sequence[Policy]) -> str:
    betas = {policy.objective.beta for policy in policies if policy.objective}
    return f" J is reward less {betas.pop():g} reward units a nat." if betas else ""


def _best_of(policies: Sequence[Policy]) -> list[str]:
    """What taking the best of several completions of the reference earns, where several were drawn."""
    return [
        f"The best of {most.num_drawn} completions of the reference: {interval(most.reward)}, "
        f"at a KL of at most {most.kl_bound:.3f} nats.\n"
        for policy in policies
        for most in policy.best_of[-1:]
    ]


def _mixes(policies: Sequence[Policy]) -> list[str]:
    """What the names of mixes mean, and how many completions each rests on."""
    drawn = {policy.num_drawn for policy in policies if policy.role == MIX}
    if not drawn:
        return []
    return [
        "trial@w is no training: the trial's adapter counted w times, or its logits mixed with the "
        f"reference's in this share; {max(drawn)} completions each.\n"
    ]


def _line(policy: Policy) -> str:
    kl = "0" if policy.role == REFERENCE else interval(policy.gate.kl)
    cells = [
        plain(policy.name),
        interval(policy.gate.reward),
        kl,
        _or_nothing(policy.gain),
        _or_nothing(policy.objective.gain if policy.objective else None),
        _or_nothing(policy.win_rate),
        interval(policy.gate.length),
        policy.status,
    ]
    return f"| {' | '.join(cells)} |"


def _or_nothing(estimate: Estimate | None) -> str:
    return "" if estimate is None else interval(estimate)


def plain(text: str) -> str:
    """Text that Markdown takes literally, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
