"""One HTML file: style, scripts, figures and sections, allowed to load nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from copg import __version__
from copg.data.html import printable, templates
from copg.evaluation.frontier import Point
from copg.evaluation.results import Outcome
from copg.report.charts import curve_chart, frontier_chart, interval_chart
from copg.report.curves import MAX_CURVES, Curve, order_keys, title_of
from copg.report.offline import brought_along
from copg.report.plot import Chart
from copg.report.policy import CHAMPION, MIX, REFERENCE, TRIAL, Policy
from copg.report.samples import Picked
from copg.report.styles import Style, style_of
from copg.report.texts import estimate_texts, few, flatten, is_digest, number
from copg.rewards import tables
from copg.rewards.ladder import HEAD, Ladder

FOLDER = Path(__file__).parent
SOURCES = {"minio": "minio", "s3": "s3", "gs": "gcs"}
"""How the pages of Kubeflow call an object store, by the beginning of its addresses."""
PAGES = templates(
    FOLDER,
    number=number,
    estimate_texts=estimate_texts,
    flatten=flatten,
    is_digest=is_digest,
    tables=tables,
    ladder_head=HEAD,
)


@dataclass(frozen=True, slots=True)
class Contents:
    """All that the page shows."""

    name: str
    policies: Sequence[Policy]
    outcome: Outcome
    frontier: Sequence[Point]
    curves: Mapping[str, Mapping[str, Curve]]
    """Metrics of training, by trial and key."""
    picked: Sequence[tuple[str, Picked]]
    """Samples of each policy but the reference."""
    data: Mapping[str, Any]
    """What validation found."""
    logged: Mapping[str, Any]
    """How the records' rewards are distributed, by split; empty where the evaluations do not know."""
    ladder: Ladder | None
    """What the logs can support; None where nobody knows."""
    artifacts: Sequence[Sequence[str]]
    """Name, stage, rows and digest of each."""
    versions: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    """As resolved, by stage and trial."""
    lineage: Mapping[str, Any]
    """Digests of data, model, rewards and code, and the run's name, as the pipeline gave them."""
    max_kl: float
    max_characters: int
    warnings: Sequence[str] = ()
    """What the stages left out, cut or found doubtful, in a line each."""
    learnt: Sequence[str] = ()
    """How well each reward model that a run trained does on held-out prompts, a sentence each."""

    @property
    def best(self) -> Policy | None:
        """The trial chosen on the select split."""
        return next((policy for policy in self.policies if policy.best), None)

    @property
    def report_beta(self) -> float | None:
        """Reward units per nat at which J of all policies is told."""
        return next((policy.objective.beta for policy in self.policies if policy.objective), None)

    @property
    def reference(self) -> Policy:
        """The policy that all others are compared with."""
        return next(policy for policy in self.policies if policy.role == REFERENCE)

    @property
    def champion(self) -> Policy | None:
        """The policy that served until now."""
        return next((policy for policy in self.policies if policy.role == CHAMPION), None)

    @property
    def contributing_parts(self) -> list[str]:
        """Parts of the reward that some policy's gain is split by."""
        return list(dict.fromkeys(part for policy in self.policies for part in policy.contributions))

    @property
    def shown_samples(self) -> list[tuple[str, Picked]]:
        """Samples of each policy that has any, those of the best trial first."""
        best = self.best.name if self.best else None
        return sorted((pair for pair in self.picked if pair[1].most), key=lambda pair: pair[0] != best)

    @property
    def data_facts(self) -> dict[str, Any]:
        """What validation found, apart from its checks."""
        told_apart = ("metrics", "checks", "warnings")
        facts = {name: value for name, value in self.data.items() if name not in told_apart}
        return {**facts, **self.data.get("metrics", {})}

    @property
    def checks(self) -> list[list[str]]:
        """What each check is of, what it expects, how many rows it saw, how many did not meet it."""
        names = ("of", "expected", "rows", "unexpected")
        return [[str(check.get(name, "")) for name in names] for check in self.data.get("checks", [])]

    @property
    def unmet_checks(self) -> list[list[str]]:
        """Checks that some rows did not meet."""
        return [row for row in self.checks if row[-1] not in ("", "0")]

    @property
    def seeds(self) -> list[list[str]]:
        """Name, seed and steps of each trial."""
        trials = [policy for policy in self.policies if policy.role == TRIAL]
        return [[p.name, *(str(p.training.get(fact, "")) for fact in ("seed", "steps"))] for p in trials]


@dataclass(frozen=True, slots=True)
class Charts:
    """The charts of a page, by section."""

    frontier: Chart
    measures: Sequence[Chart]
    curves: Sequence[Chart]
    not_drawn: Sequence[str]
    """Metrics of training beyond ``MAX_CURVES``."""


def render_page(contents: Contents) -> str:
    """The whole page.

    It opens without a network and asks for none: its policy forbids every request, and
    every script but the two whose hashes it names, so that nothing in a completion can run.
    """
    styles = style_of(contents.policies)
    charts = _charts(contents, styles)
    figures = {chart.id: chart.figure for chart in (charts.frontier, *charts.measures, *charts.curves)}
    return PAGES.get_template("page.j2").render(
        page=contents,
        charts=charts,
        legend=[(p.name, styles[p.name]) for p in contents.policies if p.role == TRIAL],
        **brought_along(figures),
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def render_brief(contents: Contents, address: str = "") -> str:
    """Verdict and results alone, in some kilobytes, for a page of Kubeflow that shows it in a frame.

    A trial more is a kilobyte more; of the warnings, however many and long, it has the first.

    Args:
        contents: as of the whole page.
        address: where the whole page will lie: a path, or a URL of an object store; empty: not told.
    """
    return PAGES.get_template("brief.j2").render(
        page=replace(contents, warnings=few(contents.warnings)),
        address=address,
        link=link_to(address),
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
    )


def link_to(address: str) -> str:
    """Where Kubeflow's own pages serve a file of an object store; empty for other addresses."""
    scheme, _, there = address.partition("://")
    bucket, _, key = there.partition("/")
    if scheme not in SOURCES or not key:
        return ""
    return f"artifacts/get?{urlencode({'source': SOURCES[scheme], 'bucket': bucket, 'key': key})}"


def _charts(contents: Contents, styles: dict[str, Style]) -> Charts:
    trials = [(name, curves) for name, curves in contents.curves.items() if name in styles]
    keys = order_keys([dict(curves) for _, curves in trials])
    drawn = []
    for place, key in enumerate(keys[:MAX_CURVES]):
        lines = [(name, curves[key]) for name, curves in trials if key in curves]
        drawn.append(curve_chart(f"chart-curve-{place}", *title_of(key), lines, styles))
    return Charts(
        frontier_chart(contents.policies, contents.frontier, styles, contents.max_kl),
        _measures(contents, styles),
        drawn,
        keys[MAX_CURVES:],
    )


def _measures(contents: Contents, styles: dict[str, Style]) -> list[Chart]:
    reference = contents.reference.gate
    policies = [p for p in contents.policies if p.role != MIX or p.best]
    gains = [(p, p.gain) for p in policies if p.gain]
    wins = [(p, p.win_rate) for p in policies if p.win_rate]
    lengths = [(p, p.gate.length) for p in policies]
    won, long = "share of completions", "tokens a completion"
    charts = [
        interval_chart("chart-gain", "Gain over the reference", "reward units", gains, styles, at=0.0),
        interval_chart("chart-wins", "Win rate", won, wins, styles, at=0.5, percent=True),
        interval_chart("chart-length", "Length", long, lengths, styles, at=reference.length.mean),
    ]
    for place, part in enumerate(reference.parts):
        rows = [(p, p.part_gains[part]) for p in policies if part in p.part_gains]
        title = Markup("Gain in <em>{}</em>").format(printable(part))
        charts.append(interval_chart(f"chart-part-{place}", title, "before weighting", rows, styles, at=0.0))
    return charts
