"""The page from top to bottom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copg.evaluation.frontier import Point
from copg.evaluation.results import Verdict
from copg.report.charts import curve_chart, frontier_chart, interval_chart
from copg.report.curves import MAX_CURVES, Curve, order_keys, title_of
from copg.report.fragments import (
    escape,
    facts_table,
    figure,
    folded,
    headline_table,
    legend,
    select_table,
    table,
    tiles,
)
from copg.report.numbers import REFERENCE, TRIAL, Policy
from copg.report.plot import Chart
from copg.report.rewards import contribution_table, rewards_html
from copg.report.sample_cards import all_cards
from copg.report.samples import Picked
from copg.report.styles import Style, style_of


@dataclass(frozen=True, slots=True)
class Contents:
    """All that the page shows."""

    name: str
    policies: Sequence[Policy]
    verdict: Verdict
    frontier: Sequence[Point]
    curves: Mapping[str, Mapping[str, Curve]]
    """Metrics of training, by trial and key."""
    picked: Sequence[tuple[str, Picked]]
    """Samples of each policy but the reference."""
    data: Mapping[str, Any]
    """What validation found."""
    logged: Mapping[str, Any]
    """How the records' rewards are distributed, by split; empty where the evaluations do not know."""
    artifacts: Sequence[Sequence[str]]
    """Name, stage, rows and digest of each."""
    versions: Mapping[str, str]
    settings: Mapping[str, Mapping[str, Any]]
    """As resolved, by stage and trial."""
    lineage: Mapping[str, Any]
    """Whatever the pipeline wants to be told: digests of data, model, rewards and code."""
    max_kl: float
    max_characters: int


Section = tuple[str, str, str, str, list[Chart]]
"""Anchor, title, a sentence under it, HTML, charts."""


def build_sections(contents: Contents) -> list[Section]:
    """Every section of the page, in order."""
    styles = style_of(contents.policies)
    return [
        _results(contents),
        _frontier(contents, styles),
        _measures(contents, styles),
        _training(contents, styles),
        _samples(contents),
        *([_rewards(contents)] if contents.logged else []),
        _data(contents),
        _lineage(contents),
        _words(),
    ]


def headline(contents: Contents) -> tuple[str, str]:
    """The title's HTML, and what stands under it."""
    verdict, best = contents.verdict, next((p for p in contents.policies if p.best), None)
    if best is None:
        title, lead = "No trial can be promoted", "Every trial diverged or went too far from the reference."
    elif best.promoted:
        title = f"{escape(best.name)} is promoted"
        lead = "It was chosen on the select split, and passes on the gate split, which that choice never saw."
    else:
        title = f"{escape(best.name)} is best, and is not promoted"
        lead = "It was chosen on the select split, and does not pass on the gate split."
    reasons = "".join(f"<li>{escape(reason)}" for reason in verdict.decision.reasons)
    numbers = tiles(best, contents.policies, contents.max_kl) if best else ""
    return title, f'<p class="lead">{lead}</p><ul class="reasons">{reasons}</ul>{numbers}'


def _results(contents: Contents) -> Section:
    prompts = contents.policies[0].gate.num_prompts
    under = f"Means over {prompts} held-out prompts of the gate split, with 95 % intervals over prompts."
    chosen = folded("The select split, on which the best trial was chosen", select_table(contents.policies))
    return "results", "Results", under, headline_table(contents.policies) + chosen, []


def _frontier(contents: Contents, styles: dict[str, Style]) -> Section:
    chart = frontier_chart(contents.policies, contents.frontier, styles, contents.max_kl)
    under = (
        "What each policy earns, and how far from the reference it went for it. On the grey line nobody is "
        "beaten on both; bars are 95 % intervals, the dotted line is the reference's reward, ✕ marks a trial "
        "that diverged."
    )
    return "frontier", "Reward against KL", under, figure(chart, titled=False), [chart]


def _measures(contents: Contents, styles: dict[str, Style]) -> Section:
    policies = contents.policies
    base = next(p for p in policies if p.role == REFERENCE)
    gains = [(p, p.gain) for p in policies if p.gain]
    wins = [(p, p.win_rate) for p in policies if p.win_rate]
    lengths = [(p, p.gate.length) for p in policies]
    charts = [
        interval_chart("chart-gain", "Gain over the reference", "reward units", gains, styles, at=0.0),
        interval_chart(
            "chart-wins",
            "Win rate",
            "share of completions",
            wins,
            styles,
            at=0.5,
            percent=True,
        ),
        interval_chart(
            "chart-length", "Length", "tokens a completion", lengths, styles, at=base.gate.length.mean
        ),
    ]
    for place, part in enumerate(base.gate.parts):
        rows = [(p, p.part_gains[part]) for p in policies if part in p.part_gains]
        title = f"Gain in <em>{escape(part)}</em>"
        charts.append(interval_chart(f"chart-part-{place}", title, "before weighting", rows, styles, at=0.0))
    under = (
        "On the same prompts as the reference, so that what makes a prompt hard cancels. The gain in each "
        "part of the reward shows what a policy was rewarded for."
    )
    inner = f'<div class="grid">{"".join(figure(chart) for chart in charts)}</div>'
    inner += contribution_table(policies)
    return "measures", "What was gained", under, inner, charts


def _training(contents: Contents, styles: dict[str, Style]) -> Section:
    under = (
        "A falling loss says little: what counts are the generations along the way, on held-out prompts. "
        "Losses of different methods are not comparable."
    )
    trials = [(name, curves) for name, curves in contents.curves.items() if name in styles]
    keys = order_keys([dict(curves) for _, curves in trials])
    charts = []
    for place, key in enumerate(keys[:MAX_CURVES]):
        title, unit = title_of(key)
        drawn = [(name, curves[key]) for name, curves in trials if key in curves]
        charts.append(curve_chart(f"chart-curve-{place}", title, unit, drawn, styles))
    left = (
        f"<p class=under>Not drawn: {escape(', '.join(keys[MAX_CURVES:]))}.</p>" if keys[MAX_CURVES:] else ""
    )
    if not charts:
        return "training", "Training", under, "<p>No metrics of any training were recorded.</p>", []
    inner = f'{legend(contents.policies, styles)}<div class="grid">{"".join(map(figure, charts))}</div>{left}'
    return "training", "Training", under, inner, charts


def _samples(contents: Contents) -> Section:
    under = (
        "Completions of the gate split beside the reference's for the same prompt and the same noise: where "
        "a policy gained most, around the middle, and least."
    )
    best = next((p.name for p in contents.policies if p.best), None)
    picked = [(name, one) for name, one in contents.picked if one.most]
    inner = (
        all_cards(picked, best, max_characters=contents.max_characters) or "<p>No completions were kept.</p>"
    )
    return "samples", "Samples", under, inner, []


def _rewards(contents: Contents) -> Section:
    under = "How the rewards of the records are distributed, before any training. Length is in characters."
    return "rewards", "Rewards", under, rewards_html(contents.logged), []


def _data(contents: Contents) -> Section:
    under = "What validation found in the records."
    data = dict(contents.data)
    metrics, checks = data.pop("metrics", {}), data.pop("checks", [])
    head = ("of", "expected", "rows", "unexpected")
    rows = [[str(check.get(name, "")) for name in head] for check in checks]
    met = [row for row in rows if row[-1] not in ("", "0")]
    inner = facts_table({**data, **metrics})
    if met:
        inner += f'<h3 class="apart">Checks that were not met everywhere</h3>{table(head, met)}'
    if rows:
        inner += folded(f"All {len(rows)} checks", table(head, rows))
    return "data", "Data", under, inner, []


def _lineage(contents: Contents) -> Section:
    trained = [p for p in contents.policies if p.role == TRIAL and p.training]
    seeds = [[p.name, str(p.training.get("seed", "")), str(p.training.get("steps", ""))] for p in trained]
    inner = "".join(
        [
            facts_table(contents.lineage, empty="") if contents.lineage else "",
            '<h3 class="apart">Artifacts</h3>',
            table(("name", "stage", "rows", "digest"), contents.artifacts),
            '<h3 class="apart">Trainings</h3>' if seeds else "",
            table(("trial", "seed", "steps"), seeds) if seeds else "",
            '<h3 class="apart">Versions, where this page was made</h3>',
            facts_table(contents.versions),
            '<h3 class="apart">Settings</h3>',
            *(folded(stage, facts_table(values)) for stage, values in contents.settings.items()),
        ]
    )
    return "lineage", "Lineage", "What these numbers came from: contents by their SHA-256.", inner, []


def _words() -> Section:
    words = {
        "Reward": "What the recipe scores a whole completion with: a weighted sum of its parts.",
        "KL": "How far a policy is from the reference: by how much, as a logarithm, its own completions are "
        "likelier under it than under the reference. In nats a completion; 0 is the reference itself.",
        "Interval": "95 %, by a bootstrap over prompts. What another seed of training would change is not in "
        "it.",
        "Gain": "Reward minus the reference's on the same prompt.",
        "Win rate": "How often a completion earns more than one of the reference for the same prompt. A tie "
        "counts half, so 50 % is no difference.",
        "β": "How strongly training pulls to the reference, in reward units per nat. Methods read it each in "
        "their own way, so compare it within one method only.",
        "Frontier": "Policies that nobody beats on reward and KL at once.",
    }
    inner = "".join(f"<dt>{escape(word)}<dd>{escape(meaning)}" for word, meaning in words.items())
    return "words", "Words", "", f'<dl class="words">{inner}</dl>', []
