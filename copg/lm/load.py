"""Models and tokenisers from a directory or the hub: safetensors only, no remote code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from copg.errors import CopgError, ModelError
from copg.lm.anatomy import read_anatomy
from copg.lm.checkpoint import check_loaded, first_line, load_checkpoint
from copg.lm.config import TextConfig
from copg.lm.head import Head
from copg.lm.kinds import loading_class
from copg.lm.memory import memory_mistake
from copg.lm.text import TextCodec
from copg.lm.tokenizer import auto_tokenizer, has_tokenizer, no_tokenizer, open_codec
from copg.lm.weights import check_files
from copg.stores.model_files import ADAPTER, adapter_base


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
    """A causal language model in evaluation mode, as plain transformers computes it.

    Args:
        model: a model directory, an adapter directory (its base is loaded as well) or a hub name.
        revision: of the hub; ignored for directories.
        trainable: of an adapter: whether its weights take gradients.

    Raises:
        ModelError: nothing there, no safetensors, weights that are missing, of another shape, of another base
            or not finite.
    """
    if (Path(model) / ADAPTER).is_file():
        from peft import PeftConfig, PeftModel

        check_files(model)
        try:
            config = PeftConfig.from_pretrained(str(model))
        except Exception as error:  # of a configuration that is not what peft wrote, whatever it meets there
            raise ModelError(f"{model}: cannot be loaded: {first_line(error)}") from error
        base = load_model(adapter_base(Path(model)), dtype=dtype, revision=config.revision)
        options = {"is_trainable": trainable, "use_safetensors": True}
        try:
            adapted = PeftModel.from_pretrained(base, str(model), **options)
        except Exception as error:
            if memory_mistake(error, {}) is not None:
                raise
            raise ModelError(f"{model}: cannot be loaded: {first_line(error)}") from error
        missing, unknown = _compare_adapter(Path(model), adapted)
        if unknown:
            raise ModelError(
                f"{model}: its file holds {len(unknown)} weights, the first {unknown[0]!r}, for which its "
                f"base {adapter_base(Path(model))} has no place: it was trained on another"
            )
        check_loaded(model, adapted, {"missing_keys": missing})
        return adapted.eval()
    check_files(model, revision)
    auto = loading_class(load_config(model, revision=revision)) or AutoModelForCausalLM  # which says why not
    loaded: PreTrainedModel = load_checkpoint(auto, model, revision=revision, dtype=dtype)
    return loaded.eval()


def load_tokenizer(model: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokeniser that lies beside a model.

    Raises:
        ModelError: there is none, or it has no end-of-sequence token.
    """
    tokenizer = _tokenizer_beside(model, revision)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{model}: the tokeniser has no end-of-sequence token")
    return tokenizer


def _tokenizer_beside(model: str | Path, revision: str | None) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = auto_tokenizer(str(model), revision)
    except Exception as error:  # tokenizers and templates each raise their own
        raise ModelError(no_tokenizer(model, error)) from None
    return tokenizer


def load_codec(
    model: str | Path, *, revision: str | None = None, text: TextConfig | None = None
) -> TextCodec:
    """Text to ids and back, by the tokeniser that lies beside a model and the ends that the model names.

    Raises:
        ModelError: there is no tokeniser, or it has no end-of-sequence token.
    """
    return open_codec(model, load_tokenizer(model, revision=revision), text, revision=revision)


def check_vocabulary(
    policy: str | Path, tokenizer: PreTrainedTokenizerBase, reference: str, *, revision: str | None = None
) -> None:
    """A champion may come from another base model; its token ids would then mean other text.

    Of a model directory without a tokeniser there is nothing to compare.

    Raises:
        ModelError: it has another vocabulary.
    """
    folder = Path(policy)
    if folder.is_dir() and not has_tokenizer(folder):
        if (folder / ADAPTER).is_file():
            check_vocabulary(adapter_base(folder), tokenizer, reference)
        return
    if _tokenizer_beside(policy, revision).get_vocab() != tokenizer.get_vocab():
        raise ModelError(f"{policy}: has another vocabulary than {reference}: there is no log-ratio")


def load_config(model: str | Path, *, revision: str | None = None) -> Any:
    """The configuration alone.

    Raises:
        ModelError: there is none.
    """
    try:
        return AutoConfig.from_pretrained(str(model), revision=revision, trust_remote_code=False)
    except Exception as error:  # each kind of model raises its own
        raise ModelError(f"{model}: cannot be loaded: {first_line(error)}") from None


def _compare_adapter(folder: Path, adapted: Any) -> tuple[list[str], list[str]]:
    """Weights of an adapter that its file lacks, which would be as new; those of it that were left out."""
    from peft import get_peft_model_state_dict

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        held, known = set(file.keys()), set(get_peft_model_state_dict(adapted))
    own = getattr(adapted.base_model, "prefix", None)  # in the names of its own weights, such as "lora_"
    return sorted(known - held), sorted(name for name in held - known if own and own in name)


def bare_model(model: Any) -> Any:
    """The transformers model inside a peft wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def forward_errors(model: Any, what: str) -> Iterator[None]:
    """What goes wrong within it is the model's: it is told with its kind; memory that is full is not.

    Args:
        model: that computes.
        what: it is to compute.

    Raises:
        ModelError: in the place of whatever a forward raises.
    """
    try:
        yield
    except Exception as error:
        if memory_mistake(error, {}) is not None or isinstance(error, FloatingPointError):
            raise
        if isinstance(error, CopgError) and not isinstance(error, ModelError):
            raise
        kind = bare_model(model).config.model_type
        raise ModelError(f"model type {kind!r} does not compute {what}: {first_line(error)}") from error


def model_head(model: Any) -> Head:
    """Weight, bias, scale and soft cap of a causal language model's head.

    Raises:
        ModelError: the head is no plain linear layer (an adapter on it, say).
    """
    bare = bare_model(model)
    layer = bare.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        raise ModelError(f"the model's head is a {type(layer).__name__}; a plain linear layer is needed")
    anatomy = read_anatomy(bare.config)
    return Head(layer.weight, layer.bias, scale=anatomy.logit_scale, cap=anatomy.logit_cap)


def model_decoder(model: Any) -> Any:
    """Everything below the head: it maps token ids to the hidden states the head reads.

    Of a model for images or sounds too it is the language model alone.
    """
    bare = bare_model(model)
    inside = not read_anatomy(bare.config).composite and bare.base_model is not bare
    found = bare.base_model if inside else bare.get_decoder()
    return getattr(bare, "model", bare) if found is bare else found  # Llama 4 names a part that it lacks


def outside_decoder(model: torch.nn.Module) -> set[str]:
    """Names of the parameters of a bare model that text never meets: of its towers, if it has any."""
    bare: Any = bare_model(model)
    if not read_anatomy(bare.config).composite:
        return set()
    inner = {id(p) for p in model_decoder(bare).parameters()}
    head = bare.get_output_embeddings()
    inner |= set() if head is None else {id(p) for p in head.parameters()}
    return {name for name, parameter in bare.named_parameters() if id(parameter) not in inner}
