"""The training of a reward model, whatever it learns from."""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from copg.errors import ModelError, RewardError
from copg.lm.anatomy import read_anatomy
from copg.lm.checkpoint import load_checkpoint
from copg.lm.load import pick_device
from copg.lm.tokenizer import auto_tokenizer, no_tokenizer
from copg.progress import track
from copg.rewards.classifier import forward
from copg.training.clipping import clip_at, remember
from copg.training.config import LoraConfig, OptimizerConfig
from copg.training.lessons import Lesson
from copg.training.optim import add_adapter, build_optimizer, disable_dropout, learning_rate


def load_with_head(
    name: str, *, revision: str | None, lora: LoraConfig | None, seed: int
) -> tuple[Any, Any, int]:
    """A float32 model with one output in training mode, its tokeniser, and the longest it reads.

    Args:
        name: of a language model, which gets a new head, or of a reward model; directory or hub name.
        revision: of the hub.
        lora: adapter beside which the head is trained; None: all weights are.
        seed: of the head and of the adapter's first weights.

    Raises:
        ModelError: it cannot be loaded, or weights other than the head's are missing.
    """
    torch.manual_seed(seed)
    model: Any = load_checkpoint(
        AutoModelForSequenceClassification,
        name,
        revision=revision,
        dtype=torch.float32,
        new=_of_head,
        num_labels=1,
    )
    try:
        tokenizer = auto_tokenizer(name, revision)
    except Exception as error:  # tokenizers and templates each raise their own
        raise ModelError(no_tokenizer(name, error)) from None
    disable_dropout(model)
    if lora is not None:
        # the task keeps the new head trainable beside the adapter
        model = add_adapter(model, lora, seed=seed, task="SEQ_CLS")
    limits = [tokenizer.model_max_length, read_anatomy(model.config).context]
    return model.to(pick_device()), tokenizer, min(limit for limit in limits if limit)


def _of_head(model: Any, weight: str) -> bool:
    """Whether a weight is beyond what a language model has: of the head, or of what is pooled for it."""
    return not weight.startswith(f"{model.base_model_prefix}.") or ".pooler." in weight


def fit(
    model: Any,
    data: Sequence[Lesson],
    optimizer_config: OptimizerConfig,
    *,
    peak: float,
    epochs: int,
    groups_per_step: int,
    tokens_per_batch: int,
    compute_dtype: torch.dtype,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Train in place; yields loss in nats, accuracy, gradient norm and learning rate of each step.

    Every group weighs the same, however much it holds, and none is split over two forwards, of
    ``tokens_per_batch`` each, padding included.

    Raises:
        RewardError: the loss is not finite.
    """
    optimizer = build_optimizer(model, optimizer_config)
    steps = list(_steps(len(data), epochs, groups_per_step, seed))
    norms: list[float] = []
    for step, chosen in enumerate(track(steps, "reward")):
        rate = learning_rate(step, len(steps), optimizer_config, peak=peak)
        for settings in optimizer.param_groups:
            settings["lr"] = rate
        groups = [data[i] for i in chosen]
        loss_sum = correct = 0.0
        for batch in _micro_batches(groups, tokens_per_batch):
            loss, right = _batch_loss(model, batch, compute_dtype)
            # the last step of an epoch may have fewer, which weigh no more for it
            (loss / min(groups_per_step, len(data))).backward()  # type: ignore[no-untyped-call]
            loss_sum += float(loss.detach())
            correct += right
        limit = clip_at(optimizer_config.max_grad_norm, norms)
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit))
        if not math.isfinite(loss_sum) or not math.isfinite(norm):
            raise RewardError(f"reward: the loss of step {step + 1} is not finite: lower the learning rate")
        norms = remember(norms, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield {
            "loss/mean": loss_sum / len(groups),
            "accuracy/mean": correct / len(groups),
            "gradient/norm": norm,
            "learning_rate/value": rate,
        }


def _steps(num_groups: int, epochs: int, groups_per_step: int, seed: int) -> Iterator[list[int]]:
    for epoch in range(epochs):
        order = list(range(num_groups))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        for start in range(0, num_groups, groups_per_step):
            yield order[start : start + groups_per_step]


def _micro_batches(groups: Sequence[Lesson], tokens_per_batch: int) -> Iterator[list[Lesson]]:
    batch: list[Lesson] = []
    longest = rows = 0
    for group in sorted(groups, key=lambda g: -max(len(e["input_ids"]) for e in g.encodings)):
        longest = longest or max(len(e["input_ids"]) for e in group.encodings)
        if batch and (rows + len(group.encodings)) * longest > tokens_per_batch:
            yield batch
            batch, rows = [], 0
            longest = max(len(e["input_ids"]) for e in group.encodings)
        batch.append(group)
        rows += len(group.encodings)
    yield batch


def _batch_loss(model: Any, batch: Sequence[Lesson], dtype: torch.dtype) -> tuple[Tensor, float]:
    """Sum over groups, of the loss of each and of its share that is right."""
    mixed = dtype != torch.float32
    with torch.autocast(model.device.type, dtype=dtype) if mixed else nullcontext():
        scores = forward(model, [e for group in batch for e in group.encodings])[:, 0]
    total, right, start = scores.new_zeros(()), 0.0, 0
    for group in batch:
        loss, share = group.loss(scores[start : start + len(group.encodings)])
        start += len(group.encodings)
        total, right = total + loss, right + share
    return total, right
