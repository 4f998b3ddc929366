import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file
from transformers import BloomConfig, BltConfig, GPT2Config, MptConfig, XLNetConfig

from copg.errors import ModelError
from copg.lm.memory import GIB
from copg.run.footprint import PROCESS_BYTES, ModelSize, Needs, estimate_needs, measure_model, shortfalls

TRAIN = {
    "rows": {
        "compute_dtype": "float32",
        "parameter_dtype": "float32",
        "tokens_per_batch": 100,
        "tile_tokens": 10,
    },
    "lora": None,
    "gradient_checkpointing": False,
    "checkpoint": {"save_dtype": "float32", "keep": 2},
}
SIZE = ModelSize(num_parameters=1000, num_adapter_parameters=50, num_layers=2, hidden_size=8, vocab_size=30)


def test_sizes_come_from_headers_without_loading_a_weight(tmp_path: Path) -> None:
    save_file({"model.layers.0.q": np.zeros((3, 4), np.float32)}, tmp_path / "a.safetensors")
    save_file(
        {"embed": np.zeros((10, 4), np.float32), "norm": np.zeros(4, np.float32)}, tmp_path / "b.safetensors"
    )
    config = {"num_hidden_layers": 1, "hidden_size": 4, "vocab_size": 10}
    (tmp_path / "config.json").write_text(json.dumps(config))
    # 3 * 4 + 10 * 4 + 4 = 56; a rank-1 adapter on the one linear layer: 3 + 4
    assert measure_model(tmp_path) == ModelSize(56, 7, 1, 4, 10)


@pytest.mark.parametrize(
    ("config", "layers", "hidden", "vocabulary"),
    [
        (GPT2Config(n_layer=3, n_embd=8, n_head=2, vocab_size=11), 3, 8, 11),
        (BloomConfig(n_layer=2, hidden_size=8, n_head=2, vocab_size=12), 2, 8, 12),
        (MptConfig(n_layers=4, d_model=8, n_heads=2, vocab_size=13), 4, 8, 13),
        (XLNetConfig(n_layer=1, d_model=8, n_head=2, vocab_size=14), 1, 8, 14),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_sizes_are_found_under_the_names_of_every_kind(
    tmp_path: Path, config: Any, layers: int, hidden: int, vocabulary: int
) -> None:
    config.save_pretrained(tmp_path)
    save_file({"transformer.h.0.q.weight": np.zeros((8, 24), np.float32)}, tmp_path / "a.safetensors")
    # a rank-1 adapter on the one matrix of the blocks: 8 + 24
    assert measure_model(tmp_path) == ModelSize(192, 32, layers, hidden, vocabulary)


def test_sizes_that_the_file_leaves_to_its_kind_are_those_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_layer": 2}')
    assert measure_model(tmp_path) == ModelSize(0, 0, 2, 768, 50257)


def test_weights_of_four_bits_are_counted_as_those_they_are_loaded_as(tmp_path: Path) -> None:
    expert = "model.layers.0.mlp.experts.down_proj"
    stored = {f"{expert}_blocks": np.zeros((2, 8, 3, 16), np.uint8)}
    stored[f"{expert}_scales"] = np.zeros((2, 8, 3), np.uint8)
    save_file(stored, tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 1, "hidden_size": 8, "vocab_size": 9}')
    assert measure_model(tmp_path).num_parameters == 2 * 8 * 96


def test_of_several_stacks_the_layers_of_all_are_counted(tmp_path: Path) -> None:
    stacks = {"global": (3, 16), "decoder": (2, 8), "encoder": (1, 8), "patcher": (4, 4)}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 8}
    parts = {
        f"{name}_config": {"num_hidden_layers": layers, "hidden_size": hidden, **heads}
        for name, (layers, hidden) in stacks.items()
    }
    BltConfig(**parts, vocab_size=260).save_pretrained(tmp_path)
    # (3 * 16 + 2 * 8 + 1 * 8 + 4 * 4) / 16 = 5.5 layers of the widest
    assert measure_model(tmp_path) == ModelSize(0, 0, 6, 16, 260)


def test_a_size_that_is_no_number_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": "8", "num_hidden_layers": 1, "vocab_size": 9}')
    with pytest.raises(ModelError, match=r"config.json: hidden_size='8' must be a whole number$"):
        measure_model(tmp_path)


def test_full_training_needs_sixteen_bytes_a_parameter_and_the_activations() -> None:
    needs = estimate_needs(SIZE, TRAIN, num_trials=3, at_once=2, records_bytes=5)
    # one process: 16 * 1000 of weights, gradients, moments; 4 * 8 * 100 * 16 * 2 of activations;
    # 3 * 4 * 10 * 30 of logits
    one = PROCESS_BYTES + 16_000 + 102_400 + 3_600
    assert needs.memory == 2 * one
    # 3 policies of 4000; 2 trials with 3 checkpoints of 12000; 3 copies of the records
    assert needs.disk == 3 * 4_000 + 2 * 36_000 + 15
    paired = estimate_needs(SIZE, TRAIN, num_trials=3, at_once=2, records_bytes=5, mismatched=True)
    assert paired == Needs(needs.memory, needs.disk + 5)  # another completion a prompt


def test_an_adapter_needs_optimiser_state_of_its_own_weights_alone() -> None:
    lora = {**TRAIN, "lora": {"rank": 2}, "rows": {**TRAIN["rows"], "parameter_dtype": "bfloat16"}}
    full = estimate_needs(SIZE, TRAIN, num_trials=1, at_once=2, records_bytes=0)
    adapter = estimate_needs(SIZE, lora, num_trials=1, at_once=2, records_bytes=0)
    # frozen 2 * 1000, computed copy 2 * 1000, trained 16 * 2 * 50 instead of 16 * 1000
    assert adapter.memory - full.memory == 4_000 + 1_600 - 16_000


def test_what_cannot_fit_is_told_apart_from_what_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(total=8 * GIB, available=4 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(psutil, "disk_usage", lambda path: SimpleNamespace(free=10 * GIB))
    assert shortfalls(Needs(memory=3 * GIB, disk=9 * GIB), tmp_path) == ([], [])
    impossible, doubtful = shortfalls(Needs(memory=5 * GIB, disk=9 * GIB), tmp_path / "not" / "yet")
    assert (impossible, doubtful) == ([], ["training needs about 5.0 GiB of memory, 4.0 GiB are free now"])
    impossible, doubtful = shortfalls(Needs(memory=9 * GIB, disk=11 * GIB), tmp_path)
    assert impossible == [
        "training needs about 9.0 GiB of memory, the machine has 8.0 GiB",
        f"the run needs about 11.0 GiB of disk, {tmp_path} has 10.0 GiB free",
    ]
