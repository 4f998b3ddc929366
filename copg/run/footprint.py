"""How much memory and disk a run will need, told before anything heavy starts."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from copg.artifacts import json_value
from copg.errors import ModelError
from copg.lm.anatomy import plain_text_config, text_config
from copg.lm.memory import container_limit, gib
from copg.lm.weights import read_shapes

PROCESS_BYTES = 800 * 2**20
"""Of Python with torch and transformers loaded, before any weight."""
FLOATS_PER_TOKEN = 16
"""Activations a token, layer and hidden unit that the backward pass of a Llama block keeps, about."""
BYTES = {"float32": 4, "bfloat16": 2}
SIZES = ("num_hidden_layers", "hidden_size", "vocab_size")
"""By the names that configurations of every kind answer to."""
IN_BLOCK = re.compile(r"\.\d+\.")
"""In the names of weights of the blocks, whatever a kind calls them: ``layers.3.``, ``h.3.``."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What decides the memory of a model."""

    num_parameters: int
    num_adapter_parameters: int
    """Of a rank-1 adapter on every linear layer of the blocks."""
    num_layers: int
    hidden_size: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes at the worst moment."""

    memory: int
    """Of all trainings that run at once."""
    disk: int
    """Of policies, checkpoints and groups."""


def measure_model(folder: Path) -> ModelSize:
    """Read sizes from ``config.json`` and the headers of the safetensors files; no weight is loaded.

    Raises:
        ModelError: a size is no whole number, or no configuration can be loaded.
    """
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= read_shapes(file)
    sizes = _sizes(folder / "config.json")
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and IN_BLOCK.search(name)]
    return ModelSize(
        num_parameters=sum(_num_weights(name, shape) for name, shape in shapes.items()),
        num_adapter_parameters=sum(sum(shape) for shape in linear),
        num_layers=sizes["num_hidden_layers"],
        hidden_size=sizes["hidden_size"],
        vocab_size=sizes["vocab_size"],
    )


def _num_weights(name: str, shape: list[int]) -> int:
    """Of a tensor: MXFP4 has two of them in a byte of its blocks, and an exponent for 32 beside."""
    return math.prod(shape) * (2 if name.endswith("_blocks") else not name.endswith("_scales"))


def leaves_sizes(folder: Path) -> bool:
    """Whether ``config.json`` leaves a size to its kind, so that torch must be loaded to know it."""
    settings = json_value((folder / "config.json").read_bytes())
    text = plain_text_config(settings)
    return settings.get("model_type") is not None and None in (text.get(name) for name in SIZES)


def _sizes(file: Path) -> dict[str, int]:
    """Sizes of its language model: 0 where not even the kind of the model is told.

    Where the file has one under a name of its kind's (GPT-2 has ``n_embd``) or leaves it to a default, says
    so and loads torch, as ``transformers`` knows them in no other way.
    """
    settings = json_value(file.read_bytes())
    text = plain_text_config(settings)
    found = {name: text.get(name) for name in SIZES}
    if leaves_sizes(file.parent):
        kind = settings["model_type"]
        print(f"{file}: leaves sizes to model type {kind!r}: torch is loaded", file=sys.stderr)
        known = text_config(import_module("copg.lm.load").load_config(file.parent))
        own = {name: getattr(known, name, None) for name in SIZES}
        found = own | {name: size for name, size in _of_parts(known).items() if own[name] is None}
    for name, size in found.items():
        if type(size) not in (int, type(None)):
            raise ModelError(f"{file}: {name}={size!r:.100} must be a whole number")
    return {name: size or 0 for name, size in found.items()}


def _of_parts(config: Any) -> dict[str, int]:
    """Of a model of several stacks, none of which is the language model (Blt): as many layers of the widest
    as have the hidden units of all.
    """
    parts = [getattr(config, name, None) for name in config.sub_configs]
    sizes = [tuple(getattr(part, name, None) or 0 for name in SIZES[:2]) for part in parts]
    widest = max((hidden for _, hidden in sizes), default=0)
    layers = math.ceil(sum(layers * hidden for layers, hidden in sizes) / widest) if widest else 0
    return {"num_hidden_layers": layers, "hidden_size": widest}


def estimate_needs(
    size: ModelSize,
    train: Mapping[str, Any],
    *,
    num_trials: int,
    at_once: int,
    records_bytes: int,
    mismatched: bool = False,
) -> Needs:
    """What the trials of a recipe take, within a factor of two.

    A reference point is computed without gradient, in batches of the same size: it takes time, and no memory
    beyond that of a step.

    Args:
        size: of the model.
        train: settings of ``train``, complete.
        num_trials: trainings in all.
        at_once: trainings that share the machine.
        records_bytes: size of the input.
        mismatched: a completion of another prompt is kept beside each: of single completions, one more copy.
    """
    rows, lora = train["rows"], train["lora"]
    num_trained = size.num_parameters if lora is None else lora["rank"] * size.num_adapter_parameters
    frozen = 0 if lora is None else size.num_parameters * BYTES[rows["parameter_dtype"]]
    computed = 0 if rows["compute_dtype"] == rows["parameter_dtype"] else 2 * size.num_parameters
    # trained: 4 bytes of weight, 4 of gradient, 8 of AdamW's two moments
    weights = frozen + computed + 16 * num_trained
    width = BYTES[rows["compute_dtype"]] * size.hidden_size * rows["tokens_per_batch"]
    layers = size.num_layers + FLOATS_PER_TOKEN if train["gradient_checkpointing"] else None
    activations = width * (FLOATS_PER_TOKEN * size.num_layers if layers is None else layers)
    # logits of one tile, their exponentials and their gradient, in float32
    head = 3 * 4 * rows["tile_tokens"] * size.vocab_size
    policy = num_trained * BYTES[train["checkpoint"]["save_dtype"]]
    at_once = min(at_once, num_trials)
    checkpoints = (train["checkpoint"]["keep"] + 1) * 12 * num_trained  # one more while it is written
    return Needs(
        memory=at_once * (PROCESS_BYTES + weights + activations + head),
        disk=num_trials * policy + at_once * checkpoints + (4 if mismatched else 3) * records_bytes,
    )


def lack_of_disk(needs: Needs, run_dir: Path) -> list[str]:
    """What the disk or volume under a directory lacks, in one sentence with numbers, if it lacks anything."""
    import psutil

    existing = next(folder for folder in (run_dir, *run_dir.parents) if folder.exists())
    free = psutil.disk_usage(str(existing)).free
    if needs.disk <= free:
        return []
    return [f"the run needs about {gib(needs.disk)} of disk, {existing} has {gib(free)} free"]


def shortfalls(needs: Needs, run_dir: Path) -> tuple[list[str], list[str]]:
    """What this machine lacks: what cannot work, and what may not, each in one sentence with numbers."""
    import psutil

    memory = psutil.virtual_memory()
    total = min(memory.total, container_limit() or memory.total)
    impossible, doubtful = [], []
    if needs.memory > total:
        impossible.append(f"training needs about {gib(needs.memory)} of memory, the machine has {gib(total)}")
    elif needs.memory > memory.available:
        doubtful.append(
            f"training needs about {gib(needs.memory)} of memory, {gib(memory.available)} are free now"
        )
    return impossible + lack_of_disk(needs, run_dir), doubtful
