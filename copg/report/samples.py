"""Completions of a policy beside the reference's, for the same prompt and the same noise."""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.evaluation.results import GENERATIONS, Measured


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion and what it earned."""

    text: str
    reward: float
    parts: dict[str, float]
    num_tokens: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt with two answers."""

    prompt: str
    policy: Answer
    reference: Answer


@dataclass(frozen=True, slots=True)
class Picked:
    """Samples of one policy, by how much it earned over the reference."""

    most: list[Sample]
    middle: list[Sample]
    least: list[Sample]


def pick_samples(measured: Measured, reference: Measured, num_each: int) -> Picked:
    """The prompts of the gate split where a policy gained most, around the median, and least.

    A prompt counts once, with its first completions: the two policies drew them with the same noise.
    """
    mine, theirs = _first_rows(measured), _first_rows(reference)
    gaps = sorted(
        (mine[i]["reward"] - theirs[i]["reward"], i)
        for i in mine.keys() & theirs.keys()
        if math.isfinite(mine[i]["reward"]) and math.isfinite(theirs[i]["reward"])
    )
    order = [i for _, i in reversed(gaps)]
    each = min(num_each, math.ceil(len(order) / 3))
    start = (len(order) - each) // 2
    chosen = (order[:each], order[start : start + each], order[::-1][:each])
    seen: set[str] = set()
    kept = []
    for ids in (chosen[0], chosen[2], chosen[1]):  # few prompts: an end goes before the middle
        kept.append([i for i in ids if i not in seen])
        seen.update(ids)
    most, least, middle = (_read(measured, reference, mine, theirs, ids) for ids in kept)
    return Picked(most, middle, least)


def _first_rows(measured: Measured) -> dict[str, dict[str, Any]]:
    """Of each prompt of the gate split its first completion: ``{"row", "reward"}`` by prompt id."""
    path = measured.directory / GENERATIONS
    if not path.is_file():
        return {}
    table = pq.ParquetFile(path).read(["split", "id", "sample", "reward"])
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.to_pylist()):
        if row["split"] == "gate" and row["reward"] is not None:
            first = found.get(row["id"])
            if first is None or row["sample"] < first["sample"]:
                found[row["id"]] = {**row, "row": number}
    return found


def _read(
    measured: Measured,
    reference: Measured,
    mine: dict[str, dict[str, Any]],
    theirs: dict[str, dict[str, Any]],
    ids: list[str],
) -> list[Sample]:
    a = _rows(measured, [mine[i]["row"] for i in ids])
    b = _rows(reference, [theirs[i]["row"] for i in ids])
    return [Sample(x["prompt"], _answer(x), _answer(y)) for x, y in zip(a, b, strict=True)]


def _rows(measured: Measured, numbers: list[int]) -> list[dict[str, Any]]:
    """Whole rows, in this order, a batch of the file in memory at a time."""
    if not numbers:
        return []
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for batch in pq.ParquetFile(measured.directory / GENERATIONS).iter_batches(batch_size=1024):
        inside = [n for n in numbers if start <= n < start + batch.num_rows]
        if inside:
            taken = pc.take(batch, pa.array([n - start for n in inside]))
            found |= dict(zip(inside, taken.to_pylist(), strict=True))
        start += batch.num_rows
    return [found[n] for n in numbers]


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(
        row["completion"], row["reward"], dict(row["parts"] or ()), row["num_tokens"], row["finished"]
    )
