"""Where a training starts: the policy's first weights, and the reference held against its stored values."""

from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator

from copg.artifacts import Manifest
from copg.errors import MismatchError
from copg.lm.forms import Fit, fit_reference
from copg.lm.load import check_vocabulary, load_codec, load_model
from copg.lm.reference import TOLERANCES, mean_difference, text_digests
from copg.lm.scorer import DTYPES
from copg.lm.text import TextCodec
from copg.stores.promised import weights_as_promised
from copg.training.config import TrainConfig
from copg.training.data import TrainData, epoch_order
from copg.training.optim import add_adapter, disable_dropout, freeze_towers

CHECKED_GROUPS = 32


def load_policy(
    config: TrainConfig, parent: Manifest, data: TrainData, accelerator: Accelerator
) -> tuple[Any, TextCodec, Fit]:
    """The weights that the policy starts from, its codec, and the rows in which it is exact.

    The reference is loaded first, and checked against its stored values.

    Raises:
        MismatchError: it does not give them.
        ModelError: a model or its tokeniser cannot be loaded.
    """
    dtype = DTYPES[config.rows.parameter_dtype]
    with weights_as_promised(config.model, config.model_digest):
        codec = load_codec(config.model, revision=config.revision, text=config.text)
        model: Any = load_model(config.model, dtype=dtype, revision=config.revision)
    model = model.to(accelerator.device)
    groups = [*data.token_groups(range(len(data))), *data.mismatched(range(len(data)))[0]]
    fit = fit_reference(config.model, model, groups, config.rows)
    _check_reference(replace(config, rows=fit.rows), parent, data, model, codec)
    if config.start_from is not None:
        start, revision = config.start_from, config.start_revision
        check_vocabulary(start, codec.tokenizer, config.model, revision=revision)
        with weights_as_promised(start, config.start_digest):
            model = load_model(start, dtype=dtype, revision=revision, trainable=True)
        model = model.to(accelerator.device)
        fit = fit_reference(start, model, groups, config.rows)
    disable_dropout(model)
    freeze_towers(model)
    if config.lora is not None and not hasattr(model, "disable_adapter"):
        model = add_adapter(model, config.lora, seed=config.trial.seed)
    torch.manual_seed(config.trial.seed)
    return model, codec, fit


def _check_reference(
    config: TrainConfig, parent: Manifest, data: TrainData, model: Any, codec: TextCodec
) -> None:
    """Run the reference through train's own path on sampled groups and compare with the cached values.

    Raises:
        MismatchError: names what moved: model, tokeniser, template or precision.
    """
    chosen = epoch_order(len(data), seed=0, epoch=0)[:CHECKED_GROUPS].tolist()
    others, other_logps = data.mismatched(chosen)
    groups = [*(data.token_group(i) for i in chosen), *others]
    stored = [*(data.stored_logps(i) for i in chosen), *([each] for each in other_logps)]
    difference = mean_difference(model, groups, stored, config.rows)
    tolerance = TOLERANCES[config.rows.compute_dtype]
    if difference <= tolerance:
        return
    now = {
        "parameter_dtype": config.rows.parameter_dtype,
        "compute_dtype": config.rows.compute_dtype,
        **text_digests(codec),
    }
    then = parent.facts["numerics"]
    moved = sorted(name for name, value in now.items() if then.get(name) != value) or ["weights or device"]
    raise MismatchError(
        f"{config.model}: differs from the cached reference by {difference:.2g} nats a token, over "
        f"{tolerance:g}; changed since stage 'reference': {', '.join(moved)}"
    )
