"""Runs as time went on: what each earned, how far it went, who became champion, what it cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from copg import __version__
from copg.data.html import templates
from copg.records import Estimate
from copg.report.offline import brought_along
from copg.report.plot import Chart, axis, rounded
from copg.report.styles import NUM_COLOURS, SYMBOLS, label
from copg.report.texts import estimate_texts, number

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run."""

    root: str
    """Directory of the runs, as the user calls it."""
    name: str
    """Of the recipe."""
    run: str
    """Its id."""
    started: str
    """UTC, ISO 8601."""
    failed: str
    """Stage and cause; empty where it ended well."""
    best: str
    """The trial that was chosen; empty without one."""
    promoted: bool
    version: str
    """Of the best trial in the registry."""
    champion: str
    """Version that was champion when the run had ended; empty for none."""
    reward: Estimate | None
    """Of the best trial, in reward units, on the gate split."""
    kl: Estimate | None
    """Nats a completion."""
    gain: Estimate | None
    """Of J over the reference, in reward units, where the run tells it."""
    reference: float | None
    """Reward of the reference."""
    trials: int
    seconds: float
    """That the tasks worked which this run did itself."""
    reused: int
    """Tasks whose work of an earlier run counted."""

    @property
    def when(self) -> str:
        """Date and time, to the minute."""
        return self.started[:16].replace("T", " ")

    @property
    def cost(self) -> str:
        """Hours and minutes of work, or seconds."""
        minutes, seconds = divmod(round(self.seconds), 60)
        return (
            f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {seconds:02d} s"
        )


@dataclass(frozen=True, slots=True)
class Champion:
    """How long a policy was champion."""

    root: str
    name: str
    version: str
    since: str
    until: str
    """Empty for the present one."""
    run: PastRun | None
    """That promoted it; None where that is not among those shown."""


def champions(runs: Sequence[PastRun]) -> list[Champion]:
    """Who was champion when, in the order of time, for each root and name."""
    found: list[Champion] = []
    for root, name in dict.fromkeys((run.root, run.name) for run in runs):
        mine = [
            run for run in runs if (run.root, run.name) == (root, name) and not run.failed and run.champion
        ]
        changes = [
            run
            for before, run in zip([None, *mine], mine, strict=False)
            if not before or before.champion != run.champion
        ]
        for run, after in zip(changes, [*changes[1:], None], strict=True):
            promoter = run if run.promoted and run.version == run.champion else None
            found.append(Champion(root, name, run.champion, run.when, after.when if after else "", promoter))
    return found


def render_runs(runs: Sequence[PastRun]) -> str:
    """The page, which opens without a network and asks for none.

    Args:
        runs: in the order of time.
    """
    charts = _charts(runs)
    page = templates(FOLDER, number=number, estimate_texts=estimate_texts).get_template("runs.j2")
    return page.render(
        runs=list(reversed(runs)),
        champions=list(reversed(champions(runs))),
        roots=list(dict.fromkeys(run.root for run in runs)),
        charts=charts,
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **brought_along({chart.id: chart.figure for chart in charts}),
    )


def _charts(runs: Sequence[PastRun]) -> list[Chart]:
    measured: list[tuple[str, str, str, Callable[[PastRun], Estimate | None]]] = [
        ("reward", "Reward of the best trial", "reward units", lambda run: run.reward),
        ("kl", "KL of the best trial from its reference", "nats a completion", lambda run: run.kl),
        ("gain", "J of the best trial over its reference", "reward units", lambda run: run.gain),
    ]
    made = [_over_time(f"chart-{key}", title, unit, runs, of) for key, title, unit, of in measured]
    return [chart for chart in made if chart.figure["data"]] + [_cost(runs)]


def _by_root(runs: Sequence[PastRun]) -> list[tuple[str, list[PastRun], dict[str, Any]]]:
    """The runs of each root, and the mark of its policies."""
    keys = list(dict.fromkeys((run.root, run.name) for run in runs))
    found = []
    for place, key in enumerate(keys):
        mark = {"color": f"palette:c{place % NUM_COLOURS}", "symbol": SYMBOLS[place % len(SYMBOLS)]}
        several = len({root for root, _ in keys}) > 1
        found.append(
            (label(" ".join(key) if several else key[1]), [r for r in runs if (r.root, r.name) == key], mark)
        )
    return found


def _over_time(
    place: str, title: str, unit: str, runs: Sequence[PastRun], of: Callable[[PastRun], Estimate | None]
) -> Chart:
    traces = []
    for name, members, mark in _by_root(runs):
        drawn = [(run, estimate) for run in members if (estimate := of(run)) is not None]
        if drawn:
            traces.append(_trace(name, drawn, mark))
    layout = {
        "xaxis": {**axis("when the run began, UTC"), "type": "date"},
        "yaxis": axis(unit),
        "height": 300,
        "showlegend": len(traces) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return Chart(place, title, {"data": traces, "layout": layout})


def _trace(name: str, drawn: Sequence[tuple[PastRun, Estimate]], mark: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [run.started for run, _ in drawn],
        "y": [rounded(estimate.mean) for _, estimate in drawn],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [rounded(e.high - e.mean) for _, e in drawn],
            "arrayminus": [rounded(e.mean - e.low) for _, e in drawn],
            "color": mark["color"],
            "thickness": 1.6,
            "width": 0,
        },
        "line": {"color": mark["color"], "width": 1, "dash": "dot"},
        "marker": {
            "color": mark["color"],
            "size": 11,
            "symbol": [mark["symbol"] if run.promoted else f"{mark['symbol']}-open" for run, _ in drawn],
        },
        "customdata": [
            [label(run.best), "promoted" if run.promoted else "not promoted", label(run.version)]
            for run, _ in drawn
        ],
        "hovertemplate": "%{customdata[0]}, version %{customdata[2]}: %{customdata[1]}<br>"
        "%{y:.3~g}<extra></extra>",
    }


def _cost(runs: Sequence[PastRun]) -> Chart:
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": [run.when[5:] for run in members],
            "y": [rounded(run.seconds / 60) for run in members],
            "marker": {"color": mark["color"]},
            "hovertemplate": "%{x}: %{y:.3~g} min<extra></extra>",
        }
        for name, members, mark in _by_root(runs)
    ]
    layout = {
        "xaxis": {**axis("when the run began, UTC"), "type": "category", "tickangle": -45},
        "yaxis": axis("minutes that tasks worked"),
        "height": 300,
        "bargap": 0.5,
    }
    return Chart("chart-cost", "What each run cost", {"data": traces, "layout": layout})
