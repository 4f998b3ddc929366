"""What a policy drew on one split, value by value, as its evaluation keeps it."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GENERATIONS = "generations.parquet"
MIXES = "mixes"
"""Folder of an evaluation in which each of its mixes has one, called by its weight, with the same files."""
_NUMBERS = {
    "reward": "rewards",
    "num_tokens": "lengths",
    "characters": "characters",
    "kl": "kls",
    "log_ratio": "kls",
    "finished": "finished",
}
"""Field of ``Draws`` by the column that fills it."""


def mix_folder(evaluation: Path, weight: float) -> Path:
    """Where the evaluation of a trial keeps the one of its mix of this weight."""
    return evaluation / MIXES / f"{weight:g}"


@dataclass(frozen=True, slots=True)
class Draws:
    """What was drawn on one split, by prompt id, each with one value a completion."""

    rewards: dict[str, list[float]] = field(default_factory=dict)
    """Reward units."""
    kls: dict[str, list[float]] = field(default_factory=dict)
    """Nats from the reference."""
    parts: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By part, then prompt; before weighting."""
    lengths: dict[str, list[float]] = field(default_factory=dict)
    """Tokens."""
    characters: dict[str, list[float]] = field(default_factory=dict)
    """Of the text."""
    finished: dict[str, list[float]] = field(default_factory=dict)
    """1 where a completion ended by itself, else 0."""


def read_draws(evaluation: Path, split: str) -> Draws:
    """Of every completion of one split, without the texts; empty where none were kept."""
    path = evaluation / GENERATIONS
    if not path.is_file():
        return Draws()
    file = pq.ParquetFile(path)  # read_table loads a data set
    there = file.schema_arrow.names
    kl = "kl" if "kl" in there else "log_ratio"  # of the same mean
    wanted = ("split", "id", "reward", "parts", "num_tokens", "finished", "completion", kl)
    table = file.read([name for name in wanted if name in there])
    table = table.filter(pc.equal(table["split"], split))
    if "completion" in table.column_names:
        lengths = pc.utf8_length(table["completion"])
        table = table.drop_columns(["completion"]).append_column("characters", lengths)
    return _by_prompt(table)


def _by_prompt(table: pa.Table) -> Draws:
    draws = Draws()
    for row in table.to_pylist():
        for column, name in _NUMBERS.items():
            if column in row:
                getattr(draws, name).setdefault(row["id"], []).append(_number(row[column]))
        for part, value in row["parts"] or ():
            draws.parts.setdefault(part, {}).setdefault(row["id"], []).append(_number(value))
    return draws


def _number(value: float | None) -> float:
    """JSON has no NaN: what could not be measured is null."""
    return math.nan if value is None else float(value)
