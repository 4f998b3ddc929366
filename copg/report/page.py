"""One HTML file: style, scripts, figures and sections, allowed to load nothing."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from copg import __version__
from copg.report.fragments import escape
from copg.report.sections import Contents, Section, build_sections, headline


def render_page(contents: Contents) -> str:
    """The whole page.

    It opens without a network and asks for none: its policy forbids every request, and
    every script but the two whose hashes it names, so that nothing in a completion can run.
    """
    title, lead = headline(contents)
    sections = build_sections(contents)
    figures = {chart.id: chart.figure for *_, charts in sections for chart in charts}
    plotly, script = _plotly(), _resource("page.js")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name, *_ in sections)
    name = escape(contents.name)
    return "".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, script)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
            '<link rel="icon" href="data:,">',
            f"<title>{name}: {title}</title><style>{_resource('page.css')}</style></head><body>",
            f'<header><p class="over">{name}</p><h1>{title}</h1>{lead}<nav>{links}</nav></header><main>',
            *(_section(section) for section in sections),
            f"</main><footer>copg {__version__}, {made}</footer>",
            f'<script type="application/json" id="figures">{_json(figures)}</script>',
            f"<script>{plotly}</script><script>{script}</script></body></html>\n",
        ]
    )


def _section(section: Section) -> str:
    anchor, title, under, inner, _ = section
    below = f"<p>{under}</p>" if under else ""
    return f'<section id="{anchor}"><h2>{title}</h2>{below}{inner}</section>'


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that no text inside can end early."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _resource(name: str) -> str:
    return files("copg.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """plotly.js as its Python package ships it; line ends as a browser reads them, for the hash."""
    found = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    return found.replace("\r\n", "\n").replace("\r", "\n")
