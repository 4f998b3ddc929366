"""Short made-up incident reports, and the six facts in each that a reader wants to know."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields

WORDS = {
    "town": "Harwick Dunmore Ashby Calder Elmford Fenwick Garston Hollin Ivydale Keswell Langdon Marlow "
    "Norbury Oakham Quenby Radcot Selwyn Thornby Upton Verwood Walden Yarrow Brampton Corley",
    "venue": "bakery school library museum theatre hotel station warehouse "
    "garage pharmacy church hospital factory farm brewery stadium",
    "event": "fire flood burglary explosion collapse leak crash blackout robbery landslide",
    "harm": "injured rescued evacuated trapped stranded treated arrested missing",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "number": "two three four five six seven eight nine ten eleven twelve thirteen",
    "time": "morning afternoon evening night",
}
POOLS = {name: words.split() for name, words in WORDS.items()}
STREETS = ("Mill Street", "Church Road", "Bridge Street", "Park Road", "Castle Street", "Orchard Road")
CREWS = ("fire crews", "police", "paramedics", "volunteers", "officers")

LEADS = (
    "{crew} from {other} were called to the {venue} on {street} in {town} on {day} {time}.",
    "on {day} {time} {crew} from {other} went to the {venue} on {street} in {town}.",
    "the {venue} on {street} in {town} was closed on {day} {time} after {crew} from {other} arrived.",
    "it was a long {day} {time} for {crew} from {other} at the {venue} on {street} in {town}.",
)
CORES = (
    "they found {an_event}, and {number} people were {harm}.",
    "the cause was {an_event}. In all, {number} people were {harm}.",
    "a spokesman said {number} people were {harm} in the {event}.",
    "witnesses spoke of {an_event} and of {number} people {harm}.",
)
FILLERS = (
    "the road stayed shut for {hours} hours.",
    "a neighbour had raised the alarm.",
    "work to clear the site took {hours} hours.",
    "the mayor thanked {crew} for their work.",
    "the owner was away at the time.",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary should hold; every fact is one word."""

    event: str
    venue: str
    town: str
    day: str
    number: str
    """Of people."""
    harm: str
    """What happened to them."""


@dataclass(frozen=True, slots=True)
class Report:
    """One incident as it was written up."""

    text: str
    lead: str
    """The first sentence: three of the six facts among other things."""
    facts: Facts
    other_town: str
    """Where the crews came from: easily taken for the place of the incident."""

    @property
    def prompt(self) -> str:
        """What a model is given."""
        return f"Report: {self.text}\nSummary:"


def draw_report(rng: random.Random) -> Report:
    """An incident whose facts are independent of each other, so that none can be guessed from the rest."""
    words = {name: rng.choice(pool) for name, pool in POOLS.items()}
    words["town"], other = rng.sample(POOLS["town"], 2)
    facts = Facts(**{field.name: words[field.name] for field in fields(Facts)})
    words |= {
        "other": other,
        "hours": str(rng.randint(2, 9)),
        "crew": rng.choice(CREWS),
        "street": rng.choice(STREETS),
    }
    lead = fill(rng.choice(LEADS), words)
    rest = [rng.choice(CORES), *rng.sample(FILLERS, rng.choice((0, 1, 1, 2)))]
    text = " ".join([lead, *(fill(template, words) for template in rest)])
    return Report(text, lead, facts, other)


def fill(template: str, words: Mapping[str, str]) -> str:
    """A sentence from a template; ``{an_event}`` puts the right article before the event."""
    event = words["event"]
    article = "an" if event[0] in "aeiou" else "a"
    text = template.format(**words, an_event=f"{article} {event}")
    return text[0].upper() + text[1:]
