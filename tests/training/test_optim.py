"""What of a model is switched off before it is trained."""

import torch
from transformers import OPTConfig, OPTForCausalLM

from copg.training.optim import disable_dropout


def test_no_dropout_is_left_that_a_layer_hands_to_the_functional_form() -> None:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 40,
        "hidden_size": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    model = OPTForCausalLM(OPTConfig(**sizes, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)).train()
    ids = torch.arange(8)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    disable_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
