"""Prefix-shared rows: each prompt once, its K completions after it, several groups a row.

A completion's positions start where its prompt ends, and a boolean mask lets it see its prompt and itself
alone, so its log-probability is that of the completion by itself, at the cost of one prompt a group.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copg.errors import ModelError, RecordError
from copg.logps import token_logps
from copg.models import model_backbone, model_head
from copg.progress import track
from copg.settings import RowConfig


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """A prompt and its completions as token ids."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[Sequence[int]]

    @property
    def num_tokens(self) -> int:
        """Tokens of the group in a row: the prompt once, every completion."""
        return len(self.prompt_ids) + sum(map(len, self.completion_ids))


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of equal length, ready for one forward."""

    input_ids: Tensor
    """[B, T]; padded at the end."""
    position_ids: Tensor
    """[B, T]; a completion's start where its prompt ends."""
    attention_mask: Tensor
    """[B, 1, T, T] True where the query (third) sees the key (fourth)."""
    predictors: Tensor
    """[N] flat index into B*T of the state that predicts each completion token."""
    targets: Tensor
    """[N] the completion tokens."""
    completion: Tensor
    """[N] which completion a token belongs to, counted through the batch."""
    num_completions: int
    groups: tuple[int, ...]
    """Index of each group in the list the batch was made from; completions follow in its order."""

    def to(self, device: torch.device) -> "RowBatch":
        """The same batch on ``device``."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.type is Tensor}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def pack_rows(lengths: Sequence[int], tokens_per_row: int) -> list[list[int]]:
    """Best-fit decreasing: the rows as lists of indices into ``lengths``; deterministic, nothing is split.

    Raises:
        RecordError: a group is longer than a row.
    """
    budget = tokens_per_row or max(lengths, default=0)
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[index] > budget:
            raise RecordError(f"group {index} has {lengths[index]} tokens, over tokens_per_row={budget}")
        best = bisect.bisect_left(room, (lengths[index], -1))
        left, row = room.pop(best) if best < len(room) else (budget, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        bisect.insort(room, (left - lengths[index], row))
    return rows


def plan_batches(lengths: Sequence[int], config: RowConfig) -> list[list[list[int]]]:
    """Batches of rows of indices into ``lengths``, each index once; rows of like length share a batch."""
    rows = pack_rows(lengths, config.tokens_per_row)
    width = [sum(lengths[i] for i in row) for row in rows]
    batches: list[list[list[int]]] = []
    longest = 0
    for r in sorted(range(len(rows)), key=lambda r: (-width[r], r)):
        if not batches or longest * (len(batches[-1]) + 1) > config.tokens_per_batch:
            batches.append([])
            longest = width[r]
        batches[-1].append(rows[r])
    return batches


def build_batch(groups: Sequence[TokenGroup], rows: Sequence[Sequence[int]]) -> RowBatch:
    """One batch of rows, each a list of indices into ``groups``."""
    width = max(sum(groups[i].num_tokens for i in row) for row in rows)
    shape = (len(rows), width)
    tokens, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    owner, part = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    predictors: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    sizes: list[int] = []
    for r, row in enumerate(rows):
        at = 0
        for index in row:
            start, prompt = at, np.asarray(groups[index].prompt_ids)
            for k, ids in enumerate([prompt, *groups[index].completion_ids]):
                end = at + len(ids)
                tokens[r, at:end], owner[r, at:end], part[r, at:end] = np.asarray(ids), index, k
                first = 0 if k == 0 else len(prompt)
                positions[r, at:end] = np.arange(first, first + len(ids))
                if k > 0:
                    before = np.arange(at - 1, end - 1)
                    before[:1] = start + len(prompt) - 1
                    predictors.append(before + r * width)
                    targets.append(tokens[r, at:end])
                    sizes.append(len(ids))
                at = end
    return RowBatch(
        input_ids=torch.from_numpy(tokens),
        position_ids=torch.from_numpy(positions),
        attention_mask=_mask(torch.from_numpy(owner), torch.from_numpy(part)),
        predictors=torch.from_numpy(np.concatenate(predictors)),
        targets=torch.from_numpy(np.concatenate(targets)),
        completion=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        num_completions=len(sizes),
        groups=tuple(index for row in rows for index in row),
    )


def _mask(owner: Tensor, part: Tensor) -> Tensor:
    """[B, 1, T, T]: earlier tokens of the same prompt or the same completion; padding sees itself."""
    same_group = owner[:, :, None] == owner[:, None, :]
    visible = (part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :])
    causal = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool).tril()
    return (same_group & visible & causal)[:, None]


class SequenceScorer(torch.nn.Module):
    """A causal language model as a map from row batches to log-probabilities of completions."""

    def __init__(self, model: Any, config: RowConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, batch: RowBatch) -> Tensor:
        """[num_completions] log pi(y|x), summed over completion tokens, nats, float32."""
        states = model_backbone(self.model)(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
        ).last_hidden_state
        logps = token_logps(
            states.flatten(0, 1)[batch.predictors],
            batch.targets,
            model_head(self.model),
            dtype=DTYPES[self.config.compute_dtype],
            tile=self.config.tile_tokens,
        )
        return torch.zeros(batch.num_completions, device=logps.device).index_add(0, batch.completion, logps)


def score_batch(scorer: torch.nn.Module, batch: RowBatch, config: RowConfig) -> Tensor:
    """[num_completions] as ``SequenceScorer``, under the precision of ``config``."""
    device = batch.input_ids.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=config.compute_dtype == "bfloat16"):
        logps: Tensor = scorer(batch)
    return logps


def group_logps(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    rows: RowConfig | None = None,
    description: str | None = None,
) -> list[list[float]]:
    """Log-probabilities log pi(y|x) of every completion of every group, in nats, without gradients.

    Args:
        model: in evaluation mode, on its device.
        groups: any number, each with at least one completion of at least one token.
        rows: budget and precision.
        description: shown while it runs; None shows nothing.

    Returns:
        One list a group, one sum over completion tokens a completion.
    """
    config = rows or RowConfig()
    scorer = SequenceScorer(model, config)
    result: list[list[float]] = [[] for _ in groups]
    plan = plan_batches([group.num_tokens for group in groups], config)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for rows_of_batch in track(plan, description) if description else plan:
            batch = build_batch(groups, rows_of_batch)
            logps = iter(score_batch(scorer, batch.to(device), config).tolist())
            for index in batch.groups:
                result[index] = [next(logps) for _ in groups[index].completion_ids]
    return result


def check_rows(model: Any, groups: Sequence[TokenGroup], config: RowConfig, *, tolerance: float) -> None:
    """Compare rows with the model's own forward of each sequence alone.

    Args:
        model: in evaluation mode, on its device.
        groups: a few; each of their completions costs one forward of its own.
        config: budget and precision.
        tolerance: mean difference allowed, nats a token.

    Raises:
        ModelError: they differ, so the model's attention or head is one that rows get wrong.
    """
    together = group_logps(model, groups, rows=config)
    device = next(model.parameters()).device
    moved, num_tokens = 0.0, 0
    for group, logps in zip(groups, together, strict=True):
        start = len(group.prompt_ids) - 1
        for ids, logp in zip(group.completion_ids, logps, strict=True):
            row = torch.tensor([[*group.prompt_ids, *ids]], device=device)
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=config.compute_dtype == "bfloat16"),
            ):
                logits = model(input_ids=row).logits[0, start:-1].float()
            alone = logits.log_softmax(-1).gather(1, row[0, start + 1 :, None]).sum()
            moved += abs(float(alone) - logp)
            num_tokens += len(ids)
    if moved > tolerance * num_tokens:
        raise ModelError(
            f"model type {model.config.model_type!r}: prefix-shared rows differ from single sequences by "
            f"{moved / num_tokens:.2g} nats a token, over {tolerance:g}: its attention or head is not covered"
        )
