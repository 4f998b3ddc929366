"""Scaled adapters: the weights worked out by hand, in plain peft, and what cannot be scaled."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from copg.artifacts import begin, read_manifest, seal
from copg.errors import ModelError
from copg.lm.load import load_model
from copg.stores.addresses import find_damage
from copg.stores.model_files import ADAPTER
from copg.stores.scaled import scale_adapter, why_not_scaled
from tests import tiny

IDS = torch.tensor([[1, 5, 6, 7, 8, 2]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("base"))


def save_adapter(base: Path, to: Path, **settings: Any) -> Path:
    """A policy artifact: an adapter whose second matrix is no longer 0."""
    options = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings}
    torch.manual_seed(5)
    model = get_peft_model(load_model(base), LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    begin(to)
    model.save_pretrained(to)
    seal(to, schema="policy", stage="train", rows=3, config={}, parents={}, facts={"trial": "copg_0.1"})
    return to


def logps(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits.log_softmax(-1)


def worked_out(base: Path, adapter: Path, weight: float) -> torch.Tensor:
    """Every product of two matrices added to its layer by hand."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = load_model(adapter)
    layers = dict(model.named_modules())
    with torch.no_grad():
        for name, layer in adapted.get_base_model().named_modules():
            if hasattr(layer, "lora_A"):
                product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
                layers[name].weight += weight * layer.scaling["default"] * product
    return logps(model)


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"alpha_pattern": {"down_proj": 3}, "rank_pattern": {"q_proj": 2}}],
    ids=["plain", "rslora", "patterns"],
)
def test_a_scaled_adapter_adds_so_much_of_its_product_in_plain_peft(
    base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    policy = save_adapter(base, tmp_path / "policy", **settings)
    for weight in (0.5, 1.5):
        made = scale_adapter(policy, weight, tmp_path / str(weight))
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        found = logps(PeftModel.from_pretrained(plain, str(tmp_path / str(weight))).eval())
        assert torch.allclose(found, worked_out(base, policy, weight), atol=2e-5)
        assert torch.equal(found, logps(load_model(tmp_path / str(weight))))
        assert made.facts == {"trial": "copg_0.1", "weight": weight}
        assert made.parents == {"policy": read_manifest(policy, schema="policy").digest}
        assert not torch.allclose(found, logps(load_model(policy)), atol=1e-3)


def test_at_its_ends_lie_the_model_below_and_the_adapter_as_it_was_trained(
    base: Path, tmp_path: Path
) -> None:
    policy = save_adapter(base, tmp_path / "policy")
    for weight, same in ((0.0, base), (1.0, policy)):
        scale_adapter(policy, weight, tmp_path / str(weight))
        assert torch.equal(logps(load_model(tmp_path / str(weight))), logps(load_model(same)))


def test_what_is_written_twice_is_one_artifact_and_another_than_the_policy(
    base: Path, tmp_path: Path
) -> None:
    policy = save_adapter(base, tmp_path / "policy")
    before = {path.name: path.read_bytes() for path in policy.iterdir()}
    first, second = (scale_adapter(policy, 0.5, tmp_path / name) for name in "ab")
    assert first.digest == second.digest != read_manifest(policy, schema="policy").digest
    assert not find_damage(str(tmp_path / "a"), digest=first.digest)
    assert {path.name: path.read_bytes() for path in policy.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "lora_only"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"peft_type": "IA3"}, "no LoRA but IA3"),
    ],
)
def test_what_is_no_plain_lora_is_refused_in_one_line(
    base: Path, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    policy = tmp_path / "policy"
    begin(policy)
    (policy / ADAPTER).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 4, **settings}))
    seal(policy, schema="policy", stage="train", rows=1, config={}, parents={})
    assert told in why_not_scaled(policy)
    with pytest.raises(ModelError, match=rf"policy: cannot be scaled: its adapter .*{told}") as refused:
        scale_adapter(policy, 0.5, tmp_path / "scaled")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "scaled").exists()


def test_a_policy_of_all_weights_has_no_adapter(base: Path, tmp_path: Path) -> None:
    assert why_not_scaled(base) == "it has no adapter"
