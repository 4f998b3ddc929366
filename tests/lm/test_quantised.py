"""Weights that are stored in fewer bits are loaded in full, and what is saved of them loads anywhere."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from copg.lm.load import load_model
from tests import kinds

FILE = "model.safetensors"


def as_mxfp4(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Experts as gpt-oss is published: 32 values of 4 bits and their exponent."""
    stored = {}
    for name, weight in weights.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, inner, outer = weight.shape
            blocks = torch.randint(0, 256, (experts, outer, inner // 32, 16), dtype=torch.uint8)
            stored[f"{name}_blocks"] = blocks
            stored[f"{name}_scales"] = torch.full(blocks.shape[:3], 122, dtype=torch.uint8)
        else:
            stored[name] = weight.to(torch.bfloat16)
    return stored


def as_fp8(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layers as DeepSeek V3 is published: a scale for each block, here for all."""
    stored = {}
    for name, weight in weights.items():
        if name.endswith("proj.weight"):
            stored[name] = (weight * 16).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = torch.full((1, 1), 1 / 16)
        else:
            stored[name] = weight
    return stored


SETTINGS = {
    "mxfp4": {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"]},
    "fp8": {"activation_scheme": "dynamic", "weight_block_size": [128, 128]},
}


@pytest.mark.parametrize(("kind", "method"), [("gpt_oss", "mxfp4"), ("llama", "fp8")])
def test_weights_of_fewer_bits_are_loaded_in_full_and_saved_under_names_that_load(
    kind: str, method: str, tmp_path: Path
) -> None:
    folder = kinds.save_kind(kind, tmp_path / "published")
    weights = load_file(folder / FILE)
    stored = {"mxfp4": as_mxfp4, "fp8": as_fp8}[method](weights)
    save_file(stored, folder / FILE, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quant_method": method, **SETTINGS[method]}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantised}))

    model = load_model(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    found = dict(model.named_parameters())
    if method == "fp8":
        name = "model.layers.0.mlp.up_proj.weight"
        assert torch.equal(found[name], stored[name].float() / 16)
    else:
        name = "model.layers.0.mlp.experts.down_proj"  # of each byte the low half first: 0, .5, 1 .. 6
        values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
        byte = int(stored[f"{name}_blocks"][1, 2, 0, 3])  # expert 1, output 2, inputs 6 and 7; scale 2**-5
        assert found[name][1, 6:8, 2].tolist() == [
            float(values[half]) / 32 for half in (byte % 16, byte // 16)
        ]

    model.save_pretrained(tmp_path / "policy")
    assert "quantization_config" not in json.loads((tmp_path / "policy" / "config.json").read_text())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    for again in (load_model(tmp_path / "policy"), plain):
        assert all(torch.equal(found[name], value) for name, value in again.named_parameters())
