"""Data docs: what was checked and found, rendered by Great Expectations into one page that works offline.

Great Expectations' own page loads styles, scripts and images from eight hosts and needs its scripts to
unfold anything. Here its renderer makes the content and its blocks the HTML, but the page around them is
ours: no script, no request.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from copg.data.html import templates
from copg.data.suite import Suite

DOCS = "docs"
PAGES = templates(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers to look at beside the checks."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of each is its name."""


def write_docs(
    directory: Path,
    records: str,
    metrics: Mapping[str, float],
    examples: Sequence[str],
    suites: Iterable[Suite],
    *,
    stage: str = "validate",
    lead: str = "",
    tables: Sequence[Table] = (),
) -> Path:
    """Write ``docs/index.html``.

    Args:
        records: what was read, as the user named it.
        examples: the first few rejections, in a line each.
        suites: after their last batch.
        stage: ``validate`` or ``score``: the words of the page.
        lead: a sentence to begin with.
        tables: above the checks.
    """
    import great_expectations

    pages = [{"name": suite.name, "facts": suite.facts(), "sections": _sections(suite)} for suite in suites]
    html = PAGES.get_template("docs.j2").render(
        records=records,
        metrics=metrics,
        examples=examples,
        pages=pages,
        stage=stage,
        lead=lead,
        tables=tables,
        version=great_expectations.__version__,
    )
    path = directory / DOCS / "index.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text(html, encoding="utf-8")
    return path


def _sections(suite: Suite) -> list[Markup]:
    """What Great Expectations' own templates make of a suite's results, without its header and footer."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    page = ValidationResultsPageRenderer(run_info_at_end=True).render(suite.result()).to_json_dict()
    template = _section_template()
    shown = []
    for number, section in enumerate(page["sections"][1:-1], 1):
        loop = {"index": number}  # the templates read it under either name
        shown.append(Markup(template.render(section=section, loop=loop, section_loop=loop)))
    return shown


@functools.cache
def _section_template() -> Template:
    """Great Expectations' own, whose many parts are compiled once a process."""
    from great_expectations.render.view import DefaultJinjaPageView

    template: Template = DefaultJinjaPageView().env.get_template("section.j2")
    return template
