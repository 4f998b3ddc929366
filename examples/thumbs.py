"""A log as an application leaves it: reports, the one summary that each was answered with, and a thumb.

python -m examples.thumbs --model runs/demo/data/reference --out runs/thumbs/data/thumbs.jsonl
"""

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.records import draw_reports
from examples.reports import Report

NUM_RECORDS = 2000
SEED = 2
"""Of the reports: by chance apart from those on which the reference was trained."""
LONGEST_TOKENS = 48
MANY_WORDS, WORDINESS = 14, 0.06
"""Words that nobody minds, and what each more costs, as a share of the facts."""
PLEASING, PATIENCE = 0.55, 0.12
"""Worth at which half of the readers are pleased, and how much more convinces most."""
SLIPS = 0.1
"""Share of thumbs that are pressed by mistake, or for reasons of the reader's own."""


def worth(report: Report, text: str) -> float:
    """What a reader gets out of a summary: the share of the six facts in it, less words that are too many.

    No log holds it; a thumb is all that is left of it.
    """
    words = re.findall(r"\w+", text.lower())
    found = sum(fact.lower() in words for fact in astuple(report.facts)) / len(astuple(report.facts))
    return found - WORDINESS * max(0, len(words) - MANY_WORDS)


def pleases(report: Report, text: str, rng: random.Random) -> bool:
    """Whether the thumb goes up: more surely the more a summary is worth, and now and then for no reason."""
    if rng.random() < SLIPS:
        return rng.random() < 0.5
    return rng.random() < 1 / (1 + math.exp((PLEASING - worth(report, text)) / PATIENCE))


def reports_of(count: int, seed: int = SEED) -> list[Report]:
    """Those that a log of so many records is about."""
    return list(draw_reports(count, random.Random(seed)))


def make_records(
    reports: Sequence[Report], drawn: Sequence[Any], seed: int = SEED
) -> Iterator[dict[str, Any]]:
    """Records of one summary and one thumb each; ``drawn`` has what an engine gave for each report."""
    rng = random.Random(f"thumbs/{seed}")
    for number, (report, each) in enumerate(zip(reports, drawn, strict=True)):
        yield {
            "id": f"request-{number:05d}",
            "reader": f"reader-{rng.randrange(200):03d}",
            "prompt": report.prompt,
            "completion": each.text,
            "finished": each.finished,
            "thumb": "up" if pleases(report, each.text, rng) else "down",
        }


def draw_summaries(model: Path, reports: Sequence[Report], seed: int = SEED) -> list[Any]:
    """One summary of each report by a model, as it writes them."""
    from copg.lm.config import GenerationConfig
    from copg.lm.generation import Policy, load_engine
    from copg.lm.load import load_codec

    config = GenerationConfig(max_new_tokens=LONGEST_TOKENS, seed=seed)
    codec = load_codec(model)
    ids = [codec.open(report.prompt).ids for report in reports]
    keys = [f"thumbs/{number}" for number in range(len(ids))]
    return list(load_engine(config)(Policy(codec=codec, location=model), ids, keys, config))


def main(
    model: Annotated[Path, typer.Option(help="Directory of the model that answered: the demo's reference.")],
    out: Annotated[Path, typer.Option(help="File of JSON lines.")],
    count: Annotated[int, typer.Option(min=20, help="How many records.")] = NUM_RECORDS,
) -> None:
    """Write a log of one summary and one noisy thumb a report."""
    reports = reports_of(count)
    records = list(make_records(reports, draw_summaries(model, reports)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(record) + "\n" for record in records))
    up = sum(record["thumb"] == "up" for record in records)
    print(f"{out}: {count} records, {up} thumbs up")


if __name__ == "__main__":
    typer.run(main)
