"""Files of a model that cannot be loaded, or that would choose code, are refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from copg.errors import ModelError
from copg.lm.load import load_model, model_decoder, outside_decoder
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from copg.lm.weights import check_files
from copg.run.sources import DigestMemo, find_model
from copg.stores.model_files import ADAPTER
from copg.training.config import LoraConfig
from copg.training.optim import add_adapter, freeze_towers
from tests import kinds, tiny

FILE = "model.safetensors"


@pytest.fixture
def folder(reference_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference_dir, tmp_path / "model"))


def cut(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.truncate((folder / FILE).stat().st_size - 4)


def pointer(folder: Path) -> None:
    (folder / FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")


def nothing(folder: Path) -> None:
    (folder / FILE).write_bytes(b"\x10")


def other(folder: Path) -> None:
    (folder / FILE).write_bytes((9).to_bytes(8, "little") + b"{'a': 1}\n")


def index(folder: Path) -> None:
    (folder / f"{FILE}.index.json").write_text(
        json.dumps({"weight_map": {"a": FILE, "b": "gone.safetensors"}})
    )


@pytest.mark.parametrize("placed", [None, [FILE], {"a": [FILE]}, {"a": True}])
def test_an_index_that_places_no_weights_is_refused(folder: Path, placed: Any) -> None:
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": placed}))
    with pytest.raises(ModelError, match=r"index\.json: its weight_map is not the name of a file for each"):
        check_files(folder)


def lost(folder: Path) -> None:
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": {"a.weight": FILE}}))


def text_pointer(folder: Path) -> None:
    pointer(folder)
    (folder / FILE).rename(folder / "tokenizer.json")


def kernel(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_attn_implementation": "someone/kernel"}))


def hollow(folder: Path) -> None:
    save_file({}, folder / FILE, metadata={"format": "pt"})


def said_layers(folder: Path, number: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": number}))


def deeper(folder: Path) -> None:
    said_layers(folder, 1)


def shallower(folder: Path) -> None:
    said_layers(folder, 3)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (hollow, r"model\.safetensors: holds no tensor, and neither does another file beside it"),
        (deeper, r"its weights are of 2 layers, config\.json says 1: the others would be left out"),
        (shallower, r"its weights are of 2 layers, config\.json says 3: the others would be random"),
        (cut, r"model\.safetensors: is truncated: \d+ of \d+ bytes"),
        (pointer, r"model\.safetensors: is a pointer of git-lfs, not the weights: run git lfs pull"),
        (nothing, r"model\.safetensors: is no safetensors file, or its first bytes alone \(1 bytes\)"),
        (other, r"model\.safetensors: its header is no safetensors header"),
        (index, r"index\.json: names 2 files, of which 'gone\.safetensors' is missing"),
        (lost, r"index\.json: places 'a\.weight' in 'model\.safetensors', which does not hold it"),
        (text_pointer, r"tokenizer\.json: is a pointer of git-lfs, not the file: run git lfs pull"),
        (kernel, r"config\.json: _attn_implementation='someone/kernel' would choose the code"),
    ],
)
def test_what_a_header_tells_is_told_at_resolve_and_on_load(folder: Path, spoil: Any, said: str) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=said):
        find_model(str(folder), None, DigestMemo(folder.parent))
    with pytest.raises(ModelError, match=said):
        load_model(folder)


def rewrite(folder: Path, **changed: Any) -> None:
    """Weights anew; None leaves one out."""
    weights = {**load_file(folder / FILE), **changed}
    save_file({k: v for k, v in weights.items() if v is not None}, folder / FILE, metadata={"format": "pt"})


NORM = "model.layers.0.input_layernorm.weight"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, f"lack 1 weights of model type 'llama', the first '{NORM}': they would be random"),
        (torch.ones(7), "cannot be loaded|have another shape of 1 weights"),
        (torch.full((32,), float("nan")), f"weight '{NORM}' holds values that are not finite"),
        (torch.full((32,), float("inf")), f"weight '{NORM}' holds values that are not finite"),
    ],
)
def test_random_and_impossible_weights_are_refused(folder: Path, value: Any, said: str) -> None:
    rewrite(folder, **{NORM: value})
    check_files(folder)  # no header tells
    with pytest.raises(ModelError, match=said):
        load_model(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (b'{"base_model_name_or_path": "a\xff"}', "is no JSON object"),
        (b'{"r": 8', "is no JSON object"),
        (b'{"peft_type": "LORA"}', "names no base_model_name_or_path"),
        (b'{"peft_type": ["LORA"]}', "cannot be loaded: "),
        (b'{"target_modules": 1.5}', "cannot be loaded: "),
    ],
)
def test_an_adapter_whose_settings_nobody_can_read_is_refused(
    folder: Path, tmp_path: Path, settings: bytes, said: str
) -> None:
    adapter = tmp_path / "adapter"
    add_adapter(load_model(folder), LoraConfig(rank=2), seed=0).save_pretrained(adapter)
    if b"1.5" in settings:
        settings = json.dumps({**json.loads((adapter / ADAPTER).read_text()), "target_modules": 1.5}).encode()
    (adapter / ADAPTER).write_bytes(settings)
    with pytest.raises(ModelError, match=said):
        load_model(adapter)


def test_an_adapter_of_a_deeper_base_is_refused(folder: Path, tmp_path: Path) -> None:
    """Of whose layers half would be left out."""
    adapter, deeper = tmp_path / "adapter", tmp_path / "deeper"
    config = AutoConfig.from_pretrained(folder, num_hidden_layers=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(deeper)
    add_adapter(load_model(deeper), LoraConfig(rank=2), seed=0).save_pretrained(adapter)
    settings = json.loads((adapter / ADAPTER).read_text())
    (adapter / ADAPTER).write_text(json.dumps({**settings, "base_model_name_or_path": str(folder)}))
    with pytest.raises(ModelError, match=r"adapter: its file holds \d+ weights, the first .*down_proj"):
        load_model(adapter)


def test_a_buffer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """By which DeepSeek's kinds choose experts: no value that they give would tell."""
    kinds.save_kind("glm4_moe", tmp_path)
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    load_model(tmp_path)
    rewrite(tmp_path, **{name: torch.full((4,), float("nan"))})
    with pytest.raises(ModelError, match=f"buffer '{name}' holds values that are no numbers"):
        load_model(tmp_path)


def test_an_adapter_that_lacks_a_weight_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    add_adapter(load_model(folder), LoraConfig(rank=2), seed=0).save_pretrained(adapter)
    load_model(adapter)
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"adapter: its files lack 1 weights"):
        load_model(adapter)


def test_adapters_and_merged_policies_are_the_same_in_plain_transformers(
    folder: Path, tmp_path: Path
) -> None:
    policy = add_adapter(load_model(folder), LoraConfig(rank=2), seed=0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    group = TokenGroup([1, 5, 6, 7], [[8, 9, 2], [4, 2]])
    expected = group_logps(policy, [group])[0]
    policy.save_pretrained(tmp_path / "adapter")
    plain: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "adapter")
    )
    assert one_by_one(plain.eval(), group) == pytest.approx(expected, abs=1e-5)
    plain.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert one_by_one(merged, group) == pytest.approx(expected, abs=1e-5)
    assert group_logps(load_model(tmp_path / "merged"), [group])[0] == pytest.approx(expected, abs=1e-5)


def one_by_one(model: Any, group: TokenGroup) -> list[float]:
    found = []
    for ids in group.completion_ids:
        row, start = torch.tensor([[*group.prompt_ids, *ids]]), len(group.prompt_ids)
        with torch.no_grad():
            logps = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        found.append(float(logps.gather(1, row[0, start:, None]).sum()))
    return found


def test_of_a_model_with_a_tower_its_language_model_alone_is_trained() -> None:
    model: Any = tiny.build_composite()
    outside = outside_decoder(model)
    assert {name.split(".")[1] for name in outside} == {"vision_tower", "multi_modal_projector"}
    adapted = add_adapter(model, LoraConfig(rank=2), seed=0)
    touched = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert touched
    assert all(".language_model." in name for name in touched)
    assert sum("lora_A" in name for name in touched) == 2 * 7  # q, k, v, o, gate, up, down of both layers
    freeze_towers(model)
    assert not any(dict(model.named_parameters())[name].requires_grad for name in outside_decoder(model))
    assert model_decoder(model) is model.model.language_model


def test_a_model_of_the_hub_chooses_no_code_for_its_attention_either(
    reference_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = Path(shutil.copytree(reference_dir, tmp_path / "models--owner--tiny/snapshots" / commit))
    load_model("owner/tiny", revision=commit)
    deeper(cached)  # whose files nobody has seen before they are loaded
    with pytest.raises(ModelError, match=r"9 weights of layers beyond .*, the first 'model\.layers\.1\."):
        load_model("owner/tiny", revision=commit)
    said_layers(cached, 2)
    kernel(cached)
    with pytest.raises(ModelError, match=r"_attn_implementation='someone/kernel' would choose the code"):
        load_model("owner/tiny", revision=commit)
