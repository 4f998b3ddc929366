"""What of a model is switched off before it is trained."""

from typing import Any

import torch
from transformers import OPTConfig, OPTForCausalLM

from copg.training.config import LoraConfig
from copg.training.optim import add_adapter, disable_dropout
from tests import tiny


def test_no_dropout_is_left_that_a_layer_hands_to_the_functional_form() -> None:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 40,
        "hidden_size": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = OPTConfig(**sizes, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)
    model: Any = tiny.saved_and_loaded(OPTForCausalLM(config)).train()
    ids = torch.arange(8)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    disable_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)


class Router(torch.nn.Linear):
    """Linear by its kind, and two things come out, as of Llama 4's and Phi-MoE's."""

    def forward(self, states: torch.Tensor) -> Any:
        scores = super().forward(states)
        return scores, scores.argmax(-1)


def test_an_adapter_leaves_alone_what_is_linear_by_name_only() -> None:
    model: Any = tiny.build_model()
    model.model.layers[0].mlp.router = Router(32, 4)
    adapted = add_adapter(model, LoraConfig(rank=2), seed=0)
    touched = {name.partition(".lora_")[0] for name, p in adapted.named_parameters() if p.requires_grad}
    assert len(touched) == 2 * 7  # q, k, v, o, gate, up, down of both layers
    assert not any("router" in name for name in touched)
