"""What is done with one hostile input: it is taken whole, or refused in a line that names it."""

import csv
import gzip
import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard

from copg.data.found import Reading
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.data.shapes import READ_AS
from copg.errors import CopgError
from copg.lm.tokenizer import read_codec, read_limits
from copg.run.check import check_recipe
from copg.run.footprint import measure_model
from copg.run.recipe import load_recipe
from copg.run.sources import DigestMemo, find_model
from tests.fuzz.values import FIELDS, damaged, line, row, table, value

MOST_CHARS = 5000
"""Of a line that refuses something."""
RECIPE: dict[str, Any] = {
    "name": "fuzzed",
    "records": "records.jsonl",
    "model": "./model",
    "revision": "main",
    "rewards": [
        {"name": "length", "weight": 1.0, "params": {"max": 4}},
        {"name": "rouge_l", "label": "overlap"},
    ],
    "trials": [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0, "name": "second"}],
    "text": {"thinking": "strip"},
    "validate": {"select_fraction": 0.25, "columns": {"prompt": "question"}, "read_as": "completions"},
    "score": {"source": "computed", "check_samples": 4},
    "reference": {"max_tokens": 512},
    "train": {
        "epochs": 2,
        "optimizer": {"learning_rate": 1e-6},
        "rows": {"tokens_per_row": 2048},
        "samples": {"num_prompts": 4, "generation": {"max_new_tokens": 4}},
        "lora": {"rank": 8},
    },
    "evaluate": {"num_prompts": {"select": 8, "gate": 8}, "generation": {"temperature": 1.0}},
    "promote": {"max_kl": 10.0, "keep": ["second"]},
    "placement": {"defaults": {"cpu": "1", "memory": "2Gi"}},
}
OF_A_MODEL = (
    *("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"),
    "model.safetensors",
)
Made = dict[str, Any]
"""What a whole run of cases shares."""


def account(path: Path, reading: Reading, lines: Iterable[int]) -> None:
    """Read a file, and see that each of its lines is a record or has a reason."""
    told: Counter[int] = Counter()
    for portion in portions(Rows(str(path)), reading, num_workers=0):
        for found in (portion.records, portion.defects):
            for source in found["source"].to_pylist():
                name, _, number = source.rpartition(":")
                assert name == path.name
                told[int(number)] += 1
        for defect in portion.defects.to_pylist():
            assert defect["reason"]
            assert defect["detail"]
            assert len(defect["detail"]) < MOST_CHARS
    assert set(told) == set(lines)


def reading(rng: random.Random) -> Reading:
    """What the user says, at times something that the records are not."""
    asked = rng.choice((None, None, None, *READ_AS))
    columns = {rng.choice(("prompt", "reward", "completion")): rng.choice((*FIELDS, "a.b", "", "\x00"))}
    return Reading(columns if rng.random() < 0.2 else {}, asked, rng.random() < 0.2)


def read_lines(rng: random.Random, folder: Path, made: Made) -> None:
    rows = [line(rng).replace(b"\n", b" ") for _ in range(rng.randint(1, 12))]
    data = rng.choice((b"", b"", b"\xef\xbb\xbf")) + b"\n".join(rows) + rng.choice((b"", b"\n", b"\n\n"))
    path = folder / rng.choice(("a.jsonl", "b.json", "c.ndjson"))
    path.write_bytes(data)
    there = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    account(path, reading(rng), (n for n, each in enumerate(there, 1) if each.strip(b" \t\n\r\x0b\f")))


def read_table(rng: random.Random, folder: Path, made: Made) -> None:
    cells: list[dict[str, str]] = []
    for _ in range(rng.randint(1, 6)):
        each = row(rng)
        fields = each if isinstance(each, dict) else {"prompt": each}
        cells.append({k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    names = list(dict.fromkeys(name for each in cells for name in each)) or ["prompt"]
    stream = io.StringIO()
    ends = rng.choice(("\n", "\r\n", "\r"))
    writer = csv.DictWriter(stream, names, lineterminator=ends, escapechar="\\", restval="")
    writer.writeheader()
    for each in cells:
        writer.writerow(each)
    data = stream.getvalue().encode("utf-8", "surrogatepass")
    path = folder / "a.csv"
    path.write_bytes(damaged(rng, data) if rng.random() < 0.5 else data)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        try:
            found, last, reader = [], 0, csv.reader(text, strict=True)
            for each in reader:
                found += [last + 1] if each else []  # the line on which the record begins
                last = reader.line_num
        except csv.Error:
            found = []
    account(path, reading(rng), found[1:])


def read_parquet(rng: random.Random, folder: Path, made: Made) -> None:
    path = folder / "a.parquet"
    data = io.BytesIO()
    try:
        pq.write_table(table(rng), data)
    except (pa.ArrowException, ValueError):
        return  # no such file can be
    path.write_bytes(damaged(rng, data.getvalue()) if rng.random() < 0.3 else data.getvalue())
    account(path, reading(rng), [1])


def read_compressed(rng: random.Random, folder: Path, made: Made) -> None:
    data = b"\n".join(line(rng).replace(b"\n", b" ") for _ in range(3))
    kinds = (("a.jsonl.gz", gzip.compress(data)), ("a.jsonl.zst", zstandard.compress(data)))
    name, packed = rng.choice(kinds)
    hurt = rng.random() < 0.6
    (folder / name).write_bytes(damaged(rng, packed) if hurt else packed)
    if hurt:
        for _ in portions(Rows(str(folder / name)), reading(rng), num_workers=0):
            pass
    else:
        there = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        account(folder / name, reading(rng), (n for n, each in there if each.strip(b" \t\n\r\x0b\f")))


def _replaced(rng: random.Random, values: Any) -> Any:
    """The same, with something somewhere replaced, added or gone."""
    if not isinstance(values, dict | list) or not values or rng.random() < 0.15:
        return value(rng)
    copy: Any = dict(values) if isinstance(values, dict) else list(values)
    key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    match rng.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, dict):
            copy[rng.choice((*FIELDS, "beta", "folder"))] = value(rng)
        case _:
            copy[key] = _replaced(rng, copy[key])
    return copy


def read_recipe(rng: random.Random, folder: Path, made: Made) -> None:
    values = RECIPE
    for _ in range(rng.choice((1, 1, 2))):
        values = _replaced(rng, values)
    try:
        data = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, UnicodeError):
        data = json.dumps(values).encode()
    path = folder / "recipe.yaml"
    path.write_bytes(damaged(rng, data) if rng.random() < 0.4 else data)
    key = rng.choice(("train.epochs", "rewards.0", "x", "trials.1.beta", ".."))
    sets = [f"{key}={rng.choice(('1', '[', '&a *a', ''))}"]
    recipe = load_recipe(path, sets if rng.random() < 0.1 else [], here=rng.choice((None, folder)))
    check_recipe(recipe, Path("/runs"))


def read_small(rng: random.Random, folder: Path, made: Made) -> None:
    """Files of ours as an accident leaves them: the same, absent in a word, or a line."""
    name = rng.choice(sorted(made["kinds"]))
    kind, whole, files = made["kinds"][name]
    home: Path = made["homes"] / name
    path = rng.choice(sorted(files))
    data = files[path]
    hurt = damaged(rng, data) if rng.random() < 0.7 else json.dumps(value(rng)).encode()
    if rng.random() < 0.05:
        hurt = b"[" * 200_000
    try:
        path.write_bytes(hurt)
        found, told = made["read"](kind, home)
        assert str(home) in told if told else found in (whole, made["repaired"]), (path, hurt[:200])
        if told:
            raise CopgError(told)
    finally:
        for each, content in files.items():
            each.write_bytes(content)


def read_model(rng: random.Random, folder: Path, made: Made) -> None:
    """A model's folder as an accident, or a stranger, leaves it."""
    source: Path = made["model"]
    hurt = rng.choice(OF_A_MODEL)
    for file in source.iterdir():
        os.link(file, folder / file.name)
    if rng.random() < 0.1:
        (folder / hurt).unlink()
    else:
        data = (source / hurt).read_bytes()
        if hurt.endswith(".json") and rng.random() < 0.7:
            data = json.dumps(_replaced(rng, json.loads(data))).encode()
        else:
            data = damaged(rng, data)
        (folder / hurt).unlink()
        (folder / hurt).write_bytes(data)
    find_model(str(folder), None, DigestMemo(folder))
    read_limits(str(folder))
    measure_model(folder)
    codec = read_codec(str(folder))
    codec.encode(codec.open([{"role": "user", "content": "cat"}], {}), "dog", finished=True)


CASES: dict[str, tuple[int, Callable[[random.Random, Path, Made], None]]] = {
    "lines": (30, read_lines),
    "csv": (15, read_table),
    "parquet": (15, read_parquet),
    "compressed": (5, read_compressed),
    "recipe": (20, read_recipe),
    "small": (10, read_small),
    "model": (5, read_model),
}
"""How many of a hundred, and what is done."""
