"""Pieces of charts as dictionaries that plotly reads; the page's script fills in the colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from copg.records import Estimate
from copg.report.policy import Policy
from copg.report.styles import Style, shortened

Figure = dict[str, Any]
"""``{"data": [traces], "layout": {...}}``."""
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its title above and a note below."""

    id: str
    title: str
    """Text, or ``Markup``."""
    figure: Figure
    note: str = ""


def near(
    policies: Sequence[Policy], *measures: Callable[[Policy], Estimate]
) -> tuple[list[Policy], list[Policy]]:
    """Policies to draw, and diverged ones so far out that they would press the others together."""
    sound = [p for p in policies if not p.diverged] or list(policies)
    inside: list[Policy] = []
    outside: list[Policy] = []
    for policy in policies:
        far = False
        for measure in measures:
            ends = [end for p in sound for end in (measure(p).low, measure(p).high)]
            width = (max(ends) - min(ends)) or 1.0
            far |= not min(ends) - width <= measure(policy).mean <= max(ends) + width
        (outside if far else inside).append(policy)
    return inside, outside


def outside(policies: Sequence[Policy], where: Callable[[Policy], str]) -> str:
    """The note that names those a chart leaves out, and where they would be; empty when it shows all."""
    if not policies:
        return ""
    found = [f"{shortened(p.name)} at {where(p)}" for p in policies]
    return f"Diverged, and outside the axes: {'; '.join(found)}."


def place(policy: Policy) -> str:
    """Where a policy lies in reward against KL, in words."""
    return f"KL {policy.gate.kl.mean:.3g} nats, reward {policy.gate.reward.mean:.3g}"


def finite(*estimates: Estimate) -> bool:
    """Whether there is something to draw."""
    return all(math.isfinite(x) for e in estimates for x in (e.mean, e.low, e.high))


def bars(estimates: Sequence[Estimate], style: Style) -> dict[str, Any]:
    """The intervals, as bars without caps."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [rounded(e.high - e.mean) for e in estimates],
        "arrayminus": [rounded(e.mean - e.low) for e in estimates],
        "color": style.colour,
        "thickness": 1.6,
        "width": 0,
    }


def axis(title: str, span: Sequence[float] | None = None) -> dict[str, Any]:
    """An axis with its unit, over ``span`` where the data should not decide."""
    made: dict[str, Any] = {"title": {"text": title}, "automargin": True}
    return {**made, "range": [rounded(end) for end in span]} if span else made


def rule(axis: str, at: float) -> dict[str, Any]:
    """A dotted line across the chart at one value of an axis."""
    other = "y" if axis == "x" else "x"
    line = {"color": "palette:muted", "width": 1.2, "dash": "dot"}
    ends = {f"{axis}0": rounded(at), f"{axis}1": rounded(at), f"{other}0": 0, f"{other}1": 1}
    return {
        "type": "line",
        f"{other}ref": "paper",
        f"{axis}ref": axis,
        "line": line,
        "layer": "below",
        **ends,
    }


def note(at: float, text: str) -> dict[str, Any]:
    """A few words at the foot of a vertical line."""
    foot = {"x": rounded(at), "xref": "x", "y": 0, "yref": "paper", "xanchor": "right", "yanchor": "bottom"}
    return {**foot, "text": text, "showarrow": False, "font": {"color": "palette:muted", "size": 12}}


def rounded(value: float) -> float:
    """The value to ``DIGITS`` digits, as many as a chart shows: the page holds thousands of values."""
    return float(f"{value:.{DIGITS}g}")


def edge(style: Style) -> dict[str, Any]:
    """The outline of a mark, which keeps it apart from bars; a star has none, for its points would spike."""
    return {"width": 0 if style.symbol in ("x", "star") else 1, "color": "palette:paper"}


def padded(values: Sequence[float]) -> list[float]:
    """The range of an axis on which all these values lie, none of them at its edge."""
    low, high = min(values), max(values)
    room = 0.07 * (high - low) or 0.5
    return [rounded(low - room), rounded(high + room)]
