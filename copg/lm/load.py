"""Models and tokenisers from a directory or the hub: safetensors only, no remote code."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from copg.digests import ADAPTER, adapter_base
from copg.errors import ModelError
from copg.lm.attention.dispatch import use_prefix_attention
from copg.lm.config import TextConfig
from copg.lm.head import Head
from copg.lm.text import TextCodec


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(
    model: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    trainable: bool = False,
) -> PreTrainedModel:
    """A causal language model in evaluation mode, with attention that takes prefix-shared rows.

    Args:
        model: a model directory, an adapter directory (its base is loaded as well) or a hub name.
        revision: of the hub; ignored for directories.
        trainable: of an adapter: whether its weights take gradients.

    Raises:
        ModelError: nothing there, no safetensors, or layers whose packed rows no test covers.
    """
    if (Path(model) / ADAPTER).is_file():
        from peft import PeftConfig, PeftModel

        config = PeftConfig.from_pretrained(str(model))
        base = load_model(config.base_model_name_or_path, dtype=dtype, revision=config.revision)
        options = {"is_trainable": trainable, "use_safetensors": True}
        return PeftModel.from_pretrained(base, str(model), **options).eval()
    check_weights(model)
    logging.disable_progress_bar()  # one bar a weight file would drown the stage's own progress
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            str(model),
            dtype=dtype,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: cannot be loaded: {_first_line(error)}") from None
    check_layers(loaded.config)
    use_prefix_attention(loaded)
    loaded.eval()
    return loaded


def check_weights(model: str | Path) -> None:
    """Raise ``ModelError`` when a model directory's weights are not there: they may have been retired."""
    if not Path(model).is_dir():
        return
    if not (Path(model) / "config.json").is_file():
        raise ModelError(f"{model}: no model directory, 'config.json' is missing")
    if not any(Path(model).glob("*.safetensors")):
        raise ModelError(
            f"{model}: no *.safetensors weights: they were never there, or the retention rule of stage "
            "'promote' removed them (train again, or set promote.keep)"
        )


def load_tokenizer(model: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokeniser that lies beside a model.

    Raises:
        ModelError: there is none, or it has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), revision=revision, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{model}: no tokeniser can be loaded: {_first_line(error)}") from None
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{model}: the tokeniser has no end-of-sequence token")
    return tokenizer


def load_codec(
    model: str | Path, *, revision: str | None = None, text: TextConfig | None = None
) -> TextCodec:
    """Text to ids and back, by the tokeniser that lies beside a model and the ends that the model names.

    Raises:
        ModelError: there is no tokeniser, or it has no end-of-sequence token.
    """
    tokenizer = load_tokenizer(model, revision=revision)
    try:
        named = GenerationConfig.from_pretrained(str(model), revision=revision).eos_token_id
    except OSError:  # a model need not have one: its own configuration then names them
        try:
            named = getattr(load_config(model, revision=revision).get_text_config(), "eos_token_id", None)
        except ModelError:  # a tokeniser without a model
            named = None
    return TextCodec(tokenizer, text, [named] if isinstance(named, int) else named or ())


def check_vocabulary(
    policy: str | Path, tokenizer: PreTrainedTokenizerBase, reference: str, *, revision: str | None = None
) -> None:
    """A champion may come from another base model; its token ids would then mean other text.

    Of a model directory without a tokeniser there is nothing to compare.

    Raises:
        ModelError: it has another vocabulary.
    """
    folder = Path(policy)
    if folder.is_dir() and not (folder / "tokenizer_config.json").is_file():
        if (folder / ADAPTER).is_file():
            check_vocabulary(adapter_base(folder), tokenizer, reference)
        return
    if load_tokenizer(policy, revision=revision).get_vocab() != tokenizer.get_vocab():
        raise ModelError(f"{policy}: has another vocabulary than {reference}: there is no log-ratio")


def load_config(model: str | Path, *, revision: str | None = None) -> Any:
    """The configuration alone.

    Raises:
        ModelError: there is none.
    """
    try:
        return AutoConfig.from_pretrained(str(model), revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: cannot be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def check_layers(config: Any) -> None:
    """Refuse layers that a prefix-shared row would get wrong.

    Sliding windows pass: they are as good as full attention up to their length, which every batch is held to.

    Raises:
        ModelError: names the kind of layer: chunked, linear or recurrent ones are not covered.
    """
    covered = {"full_attention", "sliding_attention"}
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - covered
    if any(hasattr(config, name) for name in ("ssm_cfg", "state_size", "mamba_d_state", "rwkv_hidden_size")):
        kinds.add("recurrent")
    if kinds:
        raise ModelError(
            f"model type {config.model_type!r} has {sorted(kinds)} layers; prefix-shared rows are tested "
            "for full attention, and for sliding windows that reach over a prompt and its completion"
        )


def attention_window(config: Any) -> int | None:
    """Tokens that the layers with a sliding window see; None without such layers."""
    kinds = getattr(config, "layer_types", None)
    window: int | None = getattr(config, "sliding_window", None)
    return window if kinds is None or "sliding_attention" in kinds else None


def bare_model(model: Any) -> Any:
    """The transformers model inside a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def model_head(model: Any) -> Head:
    """Weight, bias, scale and soft cap of a causal language model's head.

    Raises:
        ModelError: the head is no plain linear layer (an adapter on it, say).
    """
    bare = bare_model(model)
    layer = bare.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        raise ModelError(f"the model's head is a {type(layer).__name__}; a plain linear layer is needed")
    config = bare.config
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight, layer.bias, scale=scale, cap=getattr(config, "final_logit_softcapping", None))


def model_backbone(model: Any) -> torch.nn.Module:
    """Everything below the head: it maps token ids to the hidden states the head reads."""
    bare = bare_model(model)
    backbone: torch.nn.Module = getattr(bare, bare.base_model_prefix)
    return backbone
