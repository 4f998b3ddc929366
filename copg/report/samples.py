"""Completions of a policy beside the reference's, for the same prompt and the same noise."""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.evaluation.draws import GENERATIONS
from copg.evaluation.results import Measured


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
    found = []
    for ids in (chosen[0], chosen[2], chosen[1]):  # few prompts: an end goes before the middle
        found.append([i for i in ids if i not in seen])
        seen.update(ids)
    most, least, middle = (_read(measured, reference, mine, theirs, ids) for ids in found)
    return Picked(most, middle, least)


def _first_rows(measured: Measured) -> dict[str, dict[str, Any]]:
    """The first completion of each prompt of the gate split: ``{"position", "reward"}`` by prompt id."""
    path = measured.directory / GENERATIONS
    if not path.is_file():
        return {}
    table = pq.ParquetFile(path).read(["split", "id", "sample", "reward"])
    found: dict[str, dict[str, Any]] = {}
    for position, row in enumerate(table.to_pylist()):
        if row["split"] == "gate" and row["reward"] is not None:
            first = found.get(row["id"])
            if first is None or row["sample"] < first["sample"]:
                found[row["id"]] = {**row, "position": position}
    return found


def _read(
    measured: Measured,
    reference: Measured,
    mine: dict[str, dict[str, Any]],
    theirs: dict[str, dict[str, Any]],
    ids: list[str],
) -> list[Sample]:
    a = _rows_at(measured, [mine[i]["position"] for i in ids])
    b = _rows_at(reference, [theirs[i]["position"] for i in ids])
    return [Sample(x["prompt"], _answer(x), _answer(y)) for x, y in zip(a, b, strict=True)]


def _rows_at(measured: Measured, positions: list[int]) -> list[dict[str, Any]]:
    """Rows of the completions at these positions, in this order, with one batch of the file in memory."""
    if not positions:
        return []
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for batch in pq.ParquetFile(measured.directory / GENERATIONS).iter_batches(batch_size=1024):
        inside = [position for position in positions if start <= position < start + batch.num_rows]
        if inside:
            taken = pc.take(batch, pa.array([position - start for position in inside]))
            found |= dict(zip(inside, taken.to_pylist(), strict=True))
        start += batch.num_rows
    return [found[position] for position in positions]


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(
        row["completion"], row["reward"], dict(row["parts"] or ()), row["num_tokens"], row["finished"]
    )
