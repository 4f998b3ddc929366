"""Five writers who summarise reports, four of them badly: the sampler that training knows nothing about."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass

from examples.reports import POOLS, Report, fill

HEADLINES = (
    "{event} at {town} {venue} on {day}: {number} {harm}.",
    "{event} on {day} at {town} {venue}, {number} {harm}.",
    "{number} {harm} in {event} at {town} {venue} on {day}.",
)
SCRAPS = (
    "{event} in {town}.",
    "{number} {harm} on {day}.",
    "{number} {harm} in {town}.",
    "{venue} {event} on {day}.",
)
RAMBLES = (
    "there was {an_event} in {town}. In all, {number} people were {harm}.",
    "{number} people were {harm} in {town}. The {event} was at the {venue}.",
)
RAMBLE_END = "on {day} {number} people were {harm} at the {venue} in {town} in the {event}."
CUT_WORDS = 12
"""Where a copier who is cut off stops."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A completion as its writer left it."""

    writer: str
    text: str
    finished: bool = True
    """False when the writer was cut off."""


def editor(report: Report, rng: random.Random) -> tuple[str, bool]:
    """All six facts and nothing else."""
    return fill(rng.choice(HEADLINES), asdict(report.facts)), True


def terse(report: Report, rng: random.Random) -> tuple[str, bool]:
    """Two or three facts."""
    return fill(rng.choice(SCRAPS), asdict(report.facts)), True


def rambler(report: Report, rng: random.Random) -> tuple[str, bool]:
    """All six facts, most of them twice."""
    words = asdict(report.facts)
    return f"{fill(rng.choice(RAMBLES), words)} {fill(RAMBLE_END, words)}", True


def guesser(report: Report, rng: random.Random) -> tuple[str, bool]:
    """An editor's headline in which several facts are invented or taken from the wrong sentence."""
    words = asdict(report.facts)
    inventions = {**POOLS, "town": [report.other_town]}
    for name in rng.sample(sorted(words), rng.choice((2, 3, 3, 4))):
        words[name] = rng.choice([word for word in inventions[name] if word != words[name]])
    return fill(rng.choice(HEADLINES), words), True


def copier(report: Report, rng: random.Random) -> tuple[str, bool]:
    """The first sentence whatever it says, at times cut off in the middle."""
    if rng.random() < 0.75:
        return report.lead, True
    return " ".join(report.lead.split()[:CUT_WORDS]), False


WRITERS: dict[str, Callable[[Report, random.Random], tuple[str, bool]]] = {
    "editor": editor,
    "terse": terse,
    "rambler": rambler,
    "guesser": guesser,
    "copier": copier,
}
SHARES = {"editor": 0.10, "terse": 0.25, "rambler": 0.20, "guesser": 0.25, "copier": 0.20}
"""Of the completions: the one good writer is rare."""


def write_draft(report: Report, rng: random.Random) -> Draft:
    """A completion by a writer drawn by ``SHARES``."""
    name = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    return Draft(name, *WRITERS[name](report, rng))
