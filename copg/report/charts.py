"""The charts: reward against KL, one measure of every policy, and metrics over training."""

from collections.abc import Sequence
from typing import Any

from copg.evaluation.frontier import Point
from copg.records import Estimate
from copg.report.curves import Curve
from copg.report.plot import (
    Chart,
    axis,
    bars,
    edge,
    finite,
    near,
    note,
    outside,
    padded,
    place,
    rounded,
    rule,
)
from copg.report.policy import MIX, REFERENCE, Policy
from copg.report.styles import Style, key_of, label
from copg.report.untrained import best_of_line, mix_lines, worth_of


def frontier_chart(
    policies: Sequence[Policy], frontier: Sequence[Point], styles: dict[str, Style], max_kl: float
) -> Chart:
    """Reward against KL of every policy, with both intervals."""
    drawn = [p for p in policies if p.role == REFERENCE or finite(p.gate.reward, p.gate.kl)]
    inside, far_out = near(drawn, lambda p: p.gate.kl, lambda p: p.gate.reward)
    far = max((p.gate.kl.high for p in inside), default=1.0) or 1.0
    first = next(p for p in policies if p.role == REFERENCE)
    reference = first.gate.reward
    traces = [_frontier_line(frontier)] if len(frontier) > 1 else []
    groups: dict[str, list[Policy]] = {}
    for policy in (p for p in inside if p.role != MIX):
        groups.setdefault(policy.method or policy.role, []).append(policy)
    traces += _worth(inside, reference, far)
    traces += mix_lines(inside, reference, styles)
    traces += [_points(name, members, styles) for name, members in groups.items()]
    traces += [_ring(p) for p in inside if p.best]
    traces += [best_of_line(found, styles[key_of(first)]) for found in [first.best_of] if found]
    far = max([far, *(each.kl_bound for each in first.best_of)])
    shapes = [rule("y", reference.mean)]
    notes = []
    if max_kl <= 1.6 * far:
        shapes.append(rule("x", max_kl))
        notes = [note(max_kl, f"KL budget {max_kl:g}")]
        far = max(far, max_kl)
    layout = {
        "xaxis": axis("KL from the reference, nats a completion", [-0.04 * far, 1.08 * far]),
        "yaxis": axis("reward, reward units"),
        "shapes": shapes,
        "annotations": notes,
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "height": 470,
        "hovermode": "closest",
    }
    return Chart(
        "chart-frontier", "Reward against KL", {"data": traces, "layout": layout}, outside(far_out, place)
    )


def _frontier_line(frontier: Sequence[Point]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "frontier",
        "x": [rounded(p.kl) for p in frontier],
        "y": [rounded(p.reward) for p in frontier],
        "line": {"color": "palette:faint", "width": 7},
        "hoverinfo": "skip",
    }


def _worth(policies: Sequence[Policy], reference: Estimate, far: float) -> list[dict[str, Any]]:
    """The line of all that is worth as much as the reference, at the run's price of a nat."""
    beta = next((p.objective.beta for p in policies if p.objective), None)
    top = max((p.gate.reward.high for p in policies), default=reference.mean)
    if beta is None or not top > reference.mean:
        return []
    end = min(far, (top - reference.mean) / beta)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"worth the reference at β {beta:g}",
            "x": [0, rounded(end)],
            "y": [rounded(reference.mean), rounded(reference.mean + beta * end)],
            "line": {"color": "palette:muted", "width": 1.5, "dash": "dash"},
            "hoverinfo": "skip",
        }
    ]


def _points(name: str, members: Sequence[Policy], styles: dict[str, Style]) -> dict[str, Any]:
    style = styles[key_of(members[0])]
    betas = ["" if p.beta is None else f"β {p.beta:g}" for p in members]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": label(name),
        "x": [rounded(p.gate.kl.mean) for p in members],
        "y": [rounded(p.gate.reward.mean) for p in members],
        "error_x": bars([p.gate.kl for p in members], style),
        "error_y": bars([p.gate.reward for p in members], style),
        "text": [f"{beta} ✕" if p.diverged else beta for beta, p in zip(betas, members, strict=True)],
        "textposition": "bottom right",
        "customdata": [[label(p.name), label(p.status), worth_of(p) + _parts(p)] for p in members],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]}<br>"
        "KL %{x:.3~g} nats, reward %{y:.3~g}%{customdata[2]}<extra></extra>",
        "marker": {
            "color": style.colour,
            "symbol": [f"{style.symbol}-open" if p.diverged else style.symbol for p in members],
            "size": 11,
            "line": edge(style),
        },
    }


def _parts(policy: Policy) -> str:
    """The parts of its reward, a line each below the sum."""
    parts = policy.gate.parts if len(policy.gate.parts) > 1 else {}
    return "".join(f"<br>{label(part)} {estimate.mean:.3g}" for part, estimate in parts.items())


def _ring(policy: Policy) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "promoted" if policy.promoted else "best trial",
        "x": [rounded(policy.gate.kl.mean)],
        "y": [rounded(policy.gate.reward.mean)],
        "marker": {
            "symbol": "circle-open",
            "size": 22,
            "color": "palette:ink",
            "line": {"width": 2, "color": "palette:ink"},
        },
        "hoverinfo": "skip",
    }


def interval_chart(
    chart_id: str,
    title: str,
    unit: str,
    rows: Sequence[tuple[Policy, Estimate]],
    styles: dict[str, Style],
    *,
    at: float,
    percent: bool = False,
) -> Chart:
    """One measure of every policy, a line each, with its interval.

    Args:
        chart_id: of the element.
        title: text, or ``Markup``.
        unit: what stands at the axis.
        rows: in the order of the page, top first.
        styles: of the policies.
        at: where no difference, or the reference, is.
        percent: show fractions as per cent.
    """
    known = [(policy, estimate) for policy, estimate in rows if finite(estimate)]
    estimates = {key_of(policy): estimate for policy, estimate in known}
    inside, far_out = near([p for p, _ in known], lambda p: estimates[key_of(p)])
    hover = ".1%" if percent else ".3~g"
    traces = [_interval(p.name, estimates[key_of(p)], styles[key_of(p)], hover) for p in inside]
    ends = [end for p in inside for e in (estimates[key_of(p)],) for end in (e.low, e.high)]
    span = [-0.04, 1.04] if percent else padded([at, *ends])
    layout = {
        "xaxis": {**axis(unit, span), "tickformat": ".0%" if percent else "", "nticks": 5},
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "ticks": "",
            "showgrid": False,
        },
        "shapes": [rule("x", at)],
        "height": 92 + 30 * max(1, len(inside)),
    }
    form = ".1%" if percent else ".3g"
    left_out = outside(far_out, lambda p: f"{estimates[key_of(p)].mean:{form}}")
    return Chart(chart_id, title, {"data": traces, "layout": layout}, left_out)


def _interval(name: str, estimate: Estimate, style: Style, hover_form: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name),
        "x": [rounded(estimate.mean)],
        "y": [label(name)],
        "error_x": bars([estimate], style),
        "marker": {"color": style.colour, "symbol": style.symbol, "size": 10, "line": edge(style)},
        "hovertemplate": f"%{{y}}: %{{x:{hover_form}}}<extra></extra>",
    }


def curve_chart(
    chart_id: str, title: str, unit: str, curves: Sequence[tuple[str, Curve]], styles: dict[str, Style]
) -> Chart:
    """One metric over the steps of training, a line a trial."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": label(name),
            "x": [rounded(step) for step in curve.steps],
            "y": [None if value is None else rounded(value) for value in curve.values],
            "line": {"color": styles[name].colour, "dash": styles[name].dash, "width": 1.8},
            "hovertemplate": "%{fullData.name}, step %{x}: %{y:.3~g}<extra></extra>",
        }
        for name, curve in curves
    ]
    values = [value for _, curve in curves for value in curve.values if value is not None]
    flat = unit == "fraction" and values and max(values) - min(values) < 0.05 and min(values) >= 0
    layout = {
        "xaxis": axis("optimiser step"),
        "yaxis": {**axis(unit, [0, 1.05] if flat else None), "nticks": 6, "exponentformat": "e"},
        "height": 260,
    }
    return Chart(chart_id, title, {"data": traces, "layout": layout})
