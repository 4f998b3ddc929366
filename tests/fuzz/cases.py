"""What is done with one hostile input: it is taken whole, or refused in a line that names it."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from copg.artifacts import json_value
from copg.errors import CopgError
from copg.lm.load import load_model
from copg.lm.tokenizer import read_codec, read_limits
from copg.run.check import check_recipe
from copg.run.first_look import look_at
from copg.run.footprint import measure_model
from copg.run.recipe import load_recipe
from copg.run.sources import DigestMemo, find_model, find_policy
from copg.stores.model_files import ADAPTER
from copg.stores.sealed import SEAL
from tests.fuzz.record_files import (
    Made,
    read_compressed,
    read_lines,
    read_list,
    read_parquet,
    read_saved,
    read_table,
    validate_lines,
)
from tests.fuzz.values import FIELDS, damaged, value

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
    "sample": {"completions": 4, "generation": {"temperature": 0.7}},
    "reward": {"learns": "pairs"},
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


RECORD = '{"question": "cat", "completions": ["a dog", "a bird"], "references": ["a dog"]}\n'


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
    key = rng.choice(("train.epochs", "rewards.0", "x", "trials.1.beta", "trials.².beta", ".."))
    sets = [f"{key}={rng.choice(('1', '[', '&a *a', ''))}"]
    recipe = load_recipe(path, sets if rng.random() < 0.1 else [], here=rng.choice((None, folder)))
    (folder / "records.jsonl").write_text(RECORD)
    for look in look_at(replace(recipe, records=str(folder / "records.jsonl")), Path("/runs"), {}):
        assert "\n" not in str(look), look
    check_recipe(recipe, Path("/runs"))


def read_small(rng: random.Random, folder: Path, made: Made) -> None:
    """Files of ours as an accident leaves them: the same, absent in a word, or a line.

    An object without a digest is what 0.1.0 left, and is believed.
    """
    name = rng.choice(sorted(made["kinds"]))
    kind, whole, files = made["kinds"][name]
    home: Path = made["homes"] / name
    path = rng.choice(sorted(each for each in files if ".json" in each.suffix))
    data = files[path]
    hurt = damaged(rng, data) if rng.random() < 0.7 else json.dumps(value(rng)).encode()
    if rng.random() < 0.05:
        hurt = b"[" * 200_000
    try:
        path.write_bytes(hurt)
        found, told = made["read"](kind, home)
        same = found in (whole, made["repaired"]) or _of_0_1_0(hurt)
        assert str(home) in told if told else same, (path, hurt[:200])
        if told:
            raise CopgError(told)
    finally:
        for each, content in files.items():  # also what a repair took away
            each.write_bytes(content)


def _of_0_1_0(data: bytes) -> bool:
    try:
        found = json_value(data)
    except ValueError:
        return False
    return isinstance(found, dict) and not found.keys() & {SEAL, "seal"}


def read_model(rng: random.Random, folder: Path, made: Made) -> None:
    """A model's folder as an accident, or a stranger, leaves it."""
    source = _hurt_model(rng, folder, made)
    memo = DigestMemo(folder)
    if (folder / ADAPTER).is_file() or source == made["models"]["adapter"]:
        find_policy(str(folder), None, memo)
        return
    find_model(str(folder), None, memo)
    read_limits(str(folder))
    measure_model(folder)
    codec = read_codec(str(folder))
    codec.encode(codec.open([{"role": "user", "content": "cat"}], {}), "dog", finished=True)


def load_weights(rng: random.Random, folder: Path, made: Made) -> None:
    """The same where the weights are loaded."""
    _hurt_model(rng, folder, made)
    load_model(folder)


def _hurt_model(rng: random.Random, folder: Path, made: Made) -> Path:
    """Fill a folder with one of the models, of which one file is gone or damaged; which model it was."""
    source: Path = made["models"][rng.choice(sorted(made["models"]))]
    hurt = rng.choice(sorted(each.name for each in source.iterdir()))
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
    return source


CASES: dict[str, tuple[int, Callable[[random.Random, Path, Made], None]]] = {
    "lines": (200, read_lines),
    "list": (50, read_list),
    "csv": (140, read_table),
    "parquet": (140, read_parquet),
    "compressed": (50, read_compressed),
    "saved": (20, read_saved),
    "validated": (0, validate_lines),
    "recipe": (200, read_recipe),
    "small": (140, read_small),
    "model": (50, read_model),
    "weights": (10, load_weights),
}
"""How many of a thousand, and what is done; files through a whole stage are slow, and counted apart."""
