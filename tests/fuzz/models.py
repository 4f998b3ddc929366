"""Folders of models of each kind that a stranger may hand in: whole, in shards, an adapter on another."""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from copg.lm.load import load_model


def make_models(whole: Path, home: Path) -> dict[str, Path]:
    """The folder of each kind, by its name.

    Args:
        whole: a model's folder.
        home: where the others are made of it.
    """
    sharded = Path(shutil.copytree(whole, home / "sharded"))
    tensors = load_file(sharded / "model.safetensors")
    names, map_ = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, sharded / file, {"format": "pt"})
        map_ |= dict.fromkeys(part, file)
    (sharded / "model.safetensors").unlink()
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": map_}))
    torch.manual_seed(0)
    adapted = get_peft_model(load_model(whole), LoraConfig(r=2, target_modules="all-linear"))
    adapted.save_pretrained(home / "adapter")
    return {"whole": whole, "sharded": sharded, "adapter": home / "adapter"}
