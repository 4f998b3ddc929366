"""Log-probabilities of completions through prefix-shared rows.

A completion's positions start where its prompt ends, and it attends to its prompt and itself alone, so its
log-probability is that of the completion by itself, at the cost of one prompt a group.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.attention.dispatch import use_prefix_attention
from copg.lm.config import RowConfig
from copg.lm.head import token_logps
from copg.lm.load import attention_window, bare_model, model_backbone, model_head
from copg.lm.rows import RowBatch, TokenGroup, build_batch, plan_batches, split_group, take_completions
from copg.progress import track

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Scorer = Callable[[RowBatch], Tensor]
"""A ``SequenceScorer``, perhaps wrapped for several processes, or what stands in its place."""


class SequenceScorer(torch.nn.Module):
    """A causal language model as a map from row batches to log-probabilities of completions."""

    def __init__(self, model: Any, config: RowConfig) -> None:
        super().__init__()
        use_prefix_attention(bare_model(model))
        self.model = model
        self.config = config
        self.window = attention_window(bare_model(model).config)

    def states(self, batch: RowBatch) -> Tensor:
        """[num_tokens, H] hidden states that predict each completion token, in the order of ``targets``."""
        if self.window is not None and batch.longest > self.window:
            raise ModelError(
                f"model type {self.model.config.model_type!r} has a sliding window of {self.window} tokens; "
                f"a prompt and completion of {batch.longest} reach beyond it, which no test covers"
            )
        mask, layout = batch.attention_mask, dict[str, Any]()
        if mask is None:
            # four dimensions, so that transformers neither builds a mask nor reads packing out of positions
            mask, layout = batch.input_ids.new_ones(1, 1, 1, 1), {"prefix_layout": batch.layout}
        states = model_backbone(self.model)(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=mask,
            use_cache=False,
            **layout,
        ).last_hidden_state
        chosen: Tensor = states.flatten(0, 1).index_select(0, batch.predictors)
        return chosen

    def forward(self, batch: RowBatch) -> Tensor:
        """[num_completions] log pi(y|x), summed over completion tokens, nats, float32."""
        logps = token_logps(
            self.states(batch),
            batch.targets,
            model_head(self.model),
            dtype=DTYPES[self.config.compute_dtype],
            tile=self.config.tile_tokens,
        )
        return torch.zeros(batch.num_completions, device=logps.device).index_add(0, batch.completion, logps)


def score_batch(scorer: Scorer, batch: RowBatch, config: RowConfig) -> Tensor:
    """[num_completions] as ``SequenceScorer``, under the precision of ``config``."""
    device = batch.input_ids.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=config.compute_dtype == "bfloat16"):
        return scorer(batch)


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
        description: shown while it runs; None shows nothing.

    Returns:
        One list a group, one sum over completion tokens a completion.
    """
    config = rows or RowConfig()
    device = next(model.parameters()).device
    return scorer_logps(SequenceScorer(model, config), groups, config, device, description=description)


def scorer_logps(
    scorer: Scorer,
    groups: Sequence[TokenGroup],
    config: RowConfig,
    device: torch.device,
    *,
    description: str | None = None,
) -> list[list[float]]:
    """As ``group_logps``, through a scorer; of one that returns several values a completion, those."""
    result = [[0.0] * len(group.completion_ids) for group in groups]
    shares = [(i, chosen) for i, group in enumerate(groups) for chosen in _row_shares(group, config)]
    pieces = [take_completions(groups[i], chosen) for i, chosen in shares]
    plan = plan_batches([p.num_tokens for p in pieces], config, [p.id for p in pieces])
    with torch.no_grad():
        for rows_of_batch in track(plan, description) if description else plan:
            batch = build_batch(pieces, rows_of_batch, config.attention)
            logps = iter(score_batch(scorer, batch.to(device), config).tolist())
            for piece in batch.groups:
                index, chosen = shares[piece]
                for k in chosen:
                    result[index][k] = next(logps)
    return result


def _row_shares(group: TokenGroup, config: RowConfig) -> list[list[int]]:
    """Completions of a group that share a row: all of them, unless it is larger and may be split."""
    if config.split_groups and group.num_tokens > config.tokens_per_row:
        return split_group(group, config.tokens_per_row)
    return [list(range(len(group.completion_ids)))]


def check_rows(model: Any, groups: Sequence[TokenGroup], config: RowConfig, *, tolerance: float) -> None:
    """Compare rows with the model's own forward of each sequence alone.

    Args:
        model: in evaluation mode, on its device.
        groups: a few; each of their completions costs one forward of its own.
        config: budget and precision; unless groups are split, they share one row here, as any may.
        tolerance: mean difference allowed, nats a token.

    Raises:
        ModelError: they differ, so the model's attention or head is one that rows get wrong.
    """
    if not config.split_groups:
        config = replace(config, tokens_per_row=sum(group.num_tokens for group in groups))
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
    if not moved <= tolerance * num_tokens:  # nor is it when it is no number
        raise ModelError(
            f"model type {model.config.model_type!r}: prefix-shared rows differ from single sequences by "
            f"{moved / num_tokens:.2g} nats a token, over {tolerance:g}: its attention or head is not covered"
        )
