"""Pieces of the page, in HTML. Every text that is not ours goes through ``escape``."""

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from copg.evaluation.gate import form_of
from copg.records import Estimate
from copg.report.numbers import CHAMPION, REFERENCE, TRIAL, Policy
from copg.report.plot import Chart
from copg.report.styles import DASHES, Style

MINUS, DASH = "\u2212", "\u2013"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_DASH_ARRAYS = dict(zip(DASHES, ("", "7 5", "1.5 4", "7 4 1.5 4", "11 5", "11 4 4 4"), strict=True))


def escape(text: Any) -> str:
    """Text as a page may hold it: markup taken literally, control characters as their pictures."""
    shown = _CONTROL.sub(lambda m: chr(0x2400 + ord(m[0])) if m[0] != "\x7f" else "\u2421", str(text))
    return html.escape(shown.encode("utf-8", "replace").decode())


def number(value: float, form: str = ".3g") -> str:
    """With a proper minus sign; a dash where there is none."""
    return f"{value:{form}}".replace("-", MINUS) if math.isfinite(value) else DASH


def span(estimate: Estimate | None, *, percent: bool = False) -> str:
    """A mean with its interval beside it."""
    if estimate is None or not math.isfinite(estimate.mean):
        return DASH
    scale, unit = (100.0, "\u202f%") if percent else (1.0, "")
    scaled = Estimate(*(scale * x for x in (estimate.mean, estimate.low, estimate.high)))
    mean, low, high = (number(x, form_of(scaled)) for x in (scaled.mean, scaled.low, scaled.high))
    return f'{mean}{unit} <span class="interval">[{low}, {high}]</span>'


def headline_table(policies: Sequence[Policy]) -> str:
    """Every policy on the gate split."""
    head = (
        '<th scope="col">policy<th scope="col" class="n">reward'
        '<th scope="col" class="n">gain over the reference'
        '<th scope="col" class="n">KL, nats<th scope="col" class="n">wins against the reference'
        '<th scope="col" class="n">length, tokens<th scope="col" class="n">finished<th scope="col">status'
    )
    return _scrolled(f"<table><thead><tr>{head}</thead><tbody>{''.join(map(_row, policies))}</tbody></table>")


def _row(policy: Policy) -> str:
    gate = policy.gate
    method = [] if policy.method is None else [escape(policy.method)]
    method += [] if policy.beta is None else [f"β = {policy.beta:g}"]
    under = f'<div class="under">{", ".join(method)}</div>' if method else ""
    cells = [
        span(gate.reward),
        span(policy.gain),
        "0" if policy.role == REFERENCE else span(gate.kl),
        span(policy.win_rate, percent=True),
        span(gate.length),
        f"{number(100 * gate.finished_fraction)}\u202f%",
    ]
    kind = "best" if policy.best else "baseline" if policy.role != TRIAL else ""
    name = f'<th scope="row">{escape(policy.name)}{under}'
    status = f"<td>{_status(policy)}"
    return f'<tr class="{kind}">{name}{"".join(f"<td class=n>{c}" for c in cells)}{status}</tr>'


def _status(policy: Policy) -> str:
    marks = {"promoted": "●", "best, not promoted": "○", "diverged": "✕", "over the KL budget": "▷"}
    reason = policy.training.get("reason")
    why = f'<div class="under">{escape(reason)}</div>' if reason and policy.diverged else ""
    return f"{marks.get(policy.status, '')} {escape(policy.status)}{why}"


def select_table(policies: Sequence[Policy]) -> str:
    """The split on which the best trial was chosen."""
    rows = "".join(
        f'<tr><th scope="row">{escape(p.name)}<td class="n">{span(p.select.reward)}<td class="n">'
        f'{"0" if p.role == REFERENCE else span(p.select.kl)}<td class="n">{span(p.select.length)}</tr>'
        for p in policies
    )
    head = (
        '<th scope="col">policy<th scope="col" class="n">reward<th scope="col" class="n">KL, nats'
        '<th scope="col" class="n">length, tokens'
    )
    return _scrolled(f"<table><thead><tr>{head}</thead><tbody>{rows}</tbody></table>")


def tiles(best: Policy, policies: Sequence[Policy], max_kl: float) -> str:
    """The best trial in three numbers."""
    base = next(p for p in policies if p.role == REFERENCE)
    former = next((p for p in policies if p.role == CHAMPION), None)
    against = f"reference {number(base.gate.reward.mean)}"
    against += f", champion {number(former.gate.reward.mean)}" if former else ""
    cells = [
        ("reward", span(best.gate.reward), against),
        ("KL from the reference, nats a completion", span(best.gate.kl), f"budget {max_kl:g}"),
        ("wins against the reference", span(best.win_rate, percent=True), "a tie counts half"),
    ]
    inner = "".join(f"<div><dt>{name}<dd>{value}<dd class=under>{note}</div>" for name, value, note in cells)
    return f'<dl class="tiles">{inner}</dl>'


def figure(chart: Chart, *, titled: bool = True) -> str:
    """The place of a chart, its title above it and its note below."""
    height = chart.figure["layout"]["height"]
    note = f"<figcaption>{chart.note}</figcaption>" if chart.note else ""
    title = f"<h3>{chart.title}</h3>" if titled else ""
    return (
        f'<figure>{title}<div class="chart" id="{chart.id}" style="height:{height}px"></div>{note}</figure>'
    )


def legend(policies: Sequence[Policy], styles: Mapping[str, Style]) -> str:
    """Which line is which trial."""
    items = []
    for policy in (p for p in policies if p.role == TRIAL):
        style = styles[policy.name]
        colour = style.colour.removeprefix("palette:")
        line = (
            f'<svg width="34" height="8" aria-hidden="true"><line x1="0" y1="4" x2="34" y2="4" '
            f'stroke="var(--{colour})" stroke-width="2" stroke-dasharray="{_DASH_ARRAYS[style.dash]}"/></svg>'
        )
        items.append(f"<li>{line} {escape(policy.name)}")
    return f'<ul class="legend">{"".join(items)}</ul>'


def facts_table(values: Mapping[str, Any], empty: str = "Nothing was recorded.") -> str:
    """Names and values, nested ones as ``outer.inner``."""
    rows = "".join(f'<tr><th scope="row">{escape(k)}<td>{escape(v)}</tr>' for k, v in flatten(values))
    return _scrolled(f'<table class="facts"><tbody>{rows}</tbody></table>') if rows else f"<p>{empty}</p>"


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested mapping, as text."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += flatten(value, f"{name}.")
        elif isinstance(value, float):
            found.append((name, f"{value:.6g}"))
        elif isinstance(value, str):
            found.append((name, value))
        else:
            found.append((name, json.dumps(value, ensure_ascii=False, default=str)))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table of texts; digests are recognised and set in small type."""
    top = "".join(f'<th scope="col">{escape(cell)}' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}' for cell in row)}</tr>" for row in rows)
    return _scrolled(f'<table class="facts"><thead><tr>{top}</thead><tbody>{body}</tbody></table>')


def _cell(text: str) -> str:
    is_digest = re.fullmatch(r"[0-9a-f]{64}", text) is not None
    return f'<code class="digest">{text}</code>' if is_digest else escape(text)


def folded(title: str, inner: str, *, opened: bool = False) -> str:
    """Something to unfold."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{inner}</details>"


def _scrolled(inner: str) -> str:
    return f'<div class="scrolled">{inner}</div>'
