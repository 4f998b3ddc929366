"""Lines of the frontier that cost no training: mixes of trials with the reference, and best of n."""

from collections.abc import Sequence
from typing import Any

from copg.evaluation.best_of import BestOf
from copg.records import Estimate
from copg.report.plot import bars, rounded
from copg.report.policy import MIX, Policy
from copg.report.styles import Style, key_of, label


def mix_lines(
    policies: Sequence[Policy], reference: Estimate, styles: dict[str, Style]
) -> list[dict[str, Any]]:
    """A thin line for each trial that has mixes, from the reference through it in the order of weights.

    Args:
        policies: those that are drawn.
        reference: its reward.
        styles: by policy.
    """
    mixed = {p.of for p in policies if p.role == MIX}
    return [_mix_line(p, policies, reference, styles[key_of(p)]) for p in policies if p.name in mixed]


def _mix_line(trial: Policy, policies: Sequence[Policy], reference: Estimate, style: Style) -> dict[str, Any]:
    mixes = [p for p in policies if p.of == trial.name]
    points = sorted([trial, *mixes], key=_weight)
    nothing = Estimate(0.0, 0.0, 0.0)  # the bars of reference and trial are drawn with them
    return {
        "type": "scatter",
        "mode": "lines+markers+text",
        "name": f"mixes of {label(trial.name)}, {max(p.num_drawn for p in mixes)} draws each",
        "x": [0, *(rounded(p.gate.kl.mean) for p in points)],
        "y": [rounded(reference.mean), *(rounded(p.gate.reward.mean) for p in points)],
        "error_x": bars([nothing, *(nothing if p is trial else p.gate.kl for p in points)], style),
        "error_y": bars([nothing, *(nothing if p is trial else p.gate.reward for p in points)], style),
        "text": ["", *("" if p is trial else f"x {_weight(p):g}" for p in points)],
        "textposition": "top left",
        "customdata": [[label(p.name), label(p.status), worth_of(p)] for p in (trial, *points)],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]}<br>"
        "KL %{x:.3~g} nats, reward %{y:.3~g}%{customdata[2]}<extra></extra>",
        "line": {"color": style.colour, "width": 1},
        "marker": {
            "color": style.colour,
            "symbol": "circle-open",
            "size": [0, *(0 if p is trial else 8 for p in points)],
        },
    }


def _weight(policy: Policy) -> float:
    return 1.0 if policy.weight is None else policy.weight


def worth_of(policy: Policy) -> str:
    """What it gains in J, a line for the run's beta."""
    objective = policy.objective
    return f"<br>J over the reference's {objective.gain.mean:.3g}" if objective else ""


def best_of_line(found: Sequence[BestOf], style: Style) -> dict[str, Any]:
    """What the reference earns by the best of more and more, at the most that its KL can be: a line."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"best of up to {found[-1].num_drawn} of the reference",
        "x": [rounded(each.kl_bound) for each in found],
        "y": [rounded(each.reward.mean) for each in found],
        "error_y": bars([each.reward for each in found], style),
        "customdata": [each.num_drawn for each in found],
        "hovertemplate": "best of %{customdata}: reward %{y:.3~g}<br>at most %{x:.3~g} nats<extra></extra>",
        "line": {"color": style.colour, "width": 1.5},
        "marker": {"color": style.colour, "symbol": "line-ew-open", "size": 16},
    }
