"""AdamW, its learning rate as a function of the step, and what is trained."""

import math
import re
from typing import Any

import torch

from copg.errors import ModelError
from copg.lm.load import bare_model, outside_decoder
from copg.training.config import LoraConfig, OptimizerConfig

FUSED = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Kinds whose kernels multiply by some weights themselves."""


def learning_rate(step: int, num_steps: int, config: OptimizerConfig, *, peak: float) -> float:
    """Of step ``step`` (from 0): linear warm-up to ``peak``, then decay that would reach 0 after the last."""
    warmup = math.ceil(config.warmup_fraction * num_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if config.decay == "constant":
        return peak
    done = (step - warmup) / max(1, num_steps - warmup)
    return peak * (1 - done if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done)))


def build_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Over every parameter that takes gradients; vectors (norms, biases) are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=0.0,  # set anew at every step
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def disable_dropout(model: torch.nn.Module) -> None:
    """Set every dropout to 0: the contrast of two completions under two masks would be noise."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        # what a layer hands to the functional form: attention_dropout, OPT's dropout and layerdrop
        for name in [name for name, value in vars(module).items() if "drop" in name and type(value) is float]:
            setattr(module, name, 0.0)


def freeze_towers(model: torch.nn.Module) -> None:
    """Of a model for images or sounds too, what text never meets stays as it is."""
    frozen = outside_decoder(model)
    for name, parameter in bare_model(model).named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def add_adapter(model: Any, config: LoraConfig, *, seed: int, task: str = "CAUSAL_LM") -> Any:
    """The model with a fresh adapter, float32 and trainable, on frozen weights; it touches no tower.

    Args:
        seed: of its first weights.
        task: as peft calls it; ``SEQ_CLS`` trains the head too.

    Raises:
        ModelError: no layer of the model takes such an adapter.
    """
    from peft import LoraConfig as PeftLora
    from peft import get_peft_model

    settings = PeftLora(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        exclude_modules=_untouched(model),
        task_type=task,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, settings)
        except ValueError as error:
            raise ModelError(f"train.lora: {str(error).strip().partition(chr(10))[0]}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _untouched(model: torch.nn.Module) -> str | None:
    """Pattern of the layers that take no adapter; None where all do.

    Those are the layers for images or sounds, which text never meets, what kernels of Mamba read past any
    adapter, and routers that are linear layers by name alone.
    """
    outside, tops = outside_decoder(model), list[str]()
    for name, module in model.named_modules() if outside else ():
        inner = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
        if inner and inner <= outside and not any(name.startswith(f"{top}.") for top in tops):
            tops.append(name)
    patterns = [rf"(?:{'|'.join(map(re.escape, tops))})(?:\..*)?"] if tops else []
    patterns += [re.escape(name) for name, module in model.named_modules() if _only_looks_linear(module)]
    fused = getattr(bare_model(model).config, "model_type", "") in FUSED
    return "|".join([*patterns, *([r".*\.(?:out_proj|conv1d)"] if fused else [])]) or None


@torch.no_grad()
def _only_looks_linear(module: torch.nn.Module) -> bool:
    """Whether a kind of linear layer gives something else, as a router that also chooses experts."""
    if not isinstance(module, torch.nn.Linear) or type(module).forward is torch.nn.Linear.forward:
        return False
    try:
        found: Any = module(module.weight.new_zeros(1, module.in_features))
    except (RuntimeError, ValueError, IndexError):  # made for tokens of another shape
        return True
    return not isinstance(found, torch.Tensor) or found.shape != (1, module.out_features)
