"""Short readings with one question each, in the manner of bAbI: prompts alone, and the answer to look for.

python -m examples.readings --out runs/smollm2/data/prompts.jsonl
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

NUM_READINGS = 400
PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack", "Kate", "Leo")
PLACES = (
    "kitchen",
    "garden",
    "office",
    "bathroom",
    "garage",
    "library",
    "park",
    "station",
    "school",
    "attic",
)
THINGS = ("car", "hat", "bag", "cup", "coat", "scarf", "bike", "umbrella", "chair", "lamp")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple")
ITEMS = ("apple", "book", "ball", "letter", "football", "milk", "key", "cake")

Reading = tuple[str, str]
"""Prompt and answer."""


def _where(rng: random.Random) -> Reading:
    """Who moves twice is where they went last."""
    one, other, third = rng.sample(PEOPLE, 3)
    places = rng.sample(PLACES, 4)
    moves = [(one, places[0]), (other, places[1]), (third, places[2])]
    rng.shuffle(moves)
    told = " ".join(f"{who} went to the {place}." for who, place in moves)
    return f"{told} Then {one} went to the {places[3]}. Where is {one} now?", places[3]


def _colour(rng: random.Random) -> Reading:
    people, things, colours = rng.sample(PEOPLE, 3), rng.sample(THINGS, 3), rng.sample(COLOURS, 3)
    owned = [f"{who} has a {c} {t}." for who, c, t in zip(people, colours, things, strict=True)]
    asked = rng.randrange(3)
    return f"{' '.join(owned)} What colour is {people[asked]}'s {things[asked]}?", colours[asked]


def _holder(rng: random.Random) -> Reading:
    people, things = rng.sample(PEOPLE, 3), rng.sample(ITEMS, 3)
    took = [f"{who} picked up the {thing}." for who, thing in zip(people, things, strict=True)]
    asked = rng.randrange(3)
    return f"{' '.join(took)} Who has the {things[asked]}?", people[asked]


KINDS: tuple[Callable[[random.Random], Reading], ...] = (_where, _colour, _holder)


def make_readings(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Records of a chat prompt and its ``answer``, all prompts different, the kinds in turn."""
    rng, met = random.Random(seed), set[str]()
    while len(met) < count:
        text, answer = KINDS[len(met) % len(KINDS)](rng)
        if text not in met:
            met.add(text)
            yield {"prompt": [{"role": "user", "content": text}], "answer": answer}


def main(
    out: Annotated[Path, typer.Option(help="File of JSON lines.")],
    count: Annotated[int, typer.Option(min=20, help="How many readings.")] = NUM_READINGS,
) -> None:
    """Write readings with a question each, without completions: the recipe has them drawn."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(record) + "\n" for record in make_readings(count)))
    print(f"{out}: {count} prompts")


if __name__ == "__main__":
    typer.run(main)
