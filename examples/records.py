"""The demo's records: reports with the drafts of several writers, and the dirt that real logs come with."""

import json
import random
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from examples.reports import Report, draw_report
from examples.writers import Draft, editor, write_draft

NUM_REPORTS = 2200


def draw_reports(num_reports: int, rng: random.Random) -> Iterator[Report]:
    """Incidents of which no two have the same text."""
    seen: set[str] = set()
    while len(seen) < num_reports:
        report = draw_report(rng)
        if report.text not in seen:
            seen.add(report.text)
            yield report


def draw_drafts(report: Report, num_drafts: int, rng: random.Random) -> list[Draft]:
    """Drafts of one report of which no two have the same text."""
    drafts: dict[str, Draft] = {}
    while len(drafts) < num_drafts:
        draft = write_draft(report, rng)
        drafts.setdefault(draft.text, draft)
    return list(drafts.values())


def make_record(report: Report, rng: random.Random, *, name: str) -> dict[str, Any]:
    """One line: four to six completions, what the rewards read, and who wrote what."""
    drafts = draw_drafts(report, rng.randint(4, 6), rng)
    return {
        "id": name,
        "prompt": report.prompt,
        "completions": [draft.text for draft in drafts],
        "finished": [draft.finished for draft in drafts],
        "facts": list(astuple(report.facts)),
        "references": [editor(report, rng)[0]],
        "writers": [draft.writer for draft in drafts],
    }


def make_lines(num_reports: int, *, seed: int) -> list[bytes]:
    """The file of records, line by line, the same bytes for the same seed."""
    rng = random.Random(seed)
    reports = list(draw_reports(num_reports, rng))
    lines = [_line(make_record(r, rng, name=f"report-{i:05d}")) for i, r in enumerate(reports)]
    for line in _dirt(reports, rng):
        lines.insert(rng.randrange(len(lines) + 1), line)
    return lines


def write_records(path: Path, num_reports: int = NUM_REPORTS, *, seed: int = 0) -> int:
    """Write the records as JSON lines.

    Returns:
        The number of lines.
    """
    lines = make_lines(num_reports, seed=seed)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return len(lines)


def _dirt(reports: list[Report], rng: random.Random) -> Iterator[bytes]:
    """What a logging system leaves behind: nine lines to be refused, and three reports filed twice."""

    def spoilt(name: str, **values: Any) -> bytes:
        return _line(make_record(draw_report(rng), rng, name=name) | values)

    yield spoilt("blank-prompt", prompt=" \n")
    yield spoilt("no-completions", completions=[], finished=[])
    yield spoilt("one-completion-four-times", completions=["Fire."] * 4, finished=[True] * 4)
    yield spoilt("blank-completion", completions=["Fire.", "", "Flood."], finished=[True] * 3)
    yield spoilt("prompt-is-a-number", prompt=404)
    yield spoilt("flags-amiss", finished=[True])
    yield spoilt("number-among-completions", completions=["Fire.", 7], finished=[True] * 2)
    yield spoilt("latin-1").replace(b"Report", b"R\xe9port", 1)
    yield spoilt("torn-line")[:120]
    for number, report in enumerate(rng.sample(reports, 3)):
        yield _line(make_record(report, rng, name=f"filed-twice-{number}"))


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()
