"""Log-probabilities of completions through prefix-shared rows.

The positions of a segment start where that ends which it continues, and it attends to what it continues and
itself alone, so a completion's log-probability is that of the completion by itself, at the cost of one prompt
a group, and of each beginning that completions share once.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.attention.dispatch import (
    as_scores,
    own_attention,
    sharing,
    takes_shared_rows,
    use_own_attention,
    use_prefix_attention,
)
from copg.lm.config import RowConfig
from copg.lm.head import Head, token_logps
from copg.lm.load import bare_model, forward_errors, model_decoder, model_head
from copg.lm.row_batch import RowBatch, build_batch
from copg.lm.rows import TokenGroup, plan_batches, row_shares, take_completions
from copg.progress import track

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Scorer = Callable[[RowBatch], Tensor]
"""A ``SequenceScorer``, perhaps wrapped for several processes, or what stands in its place."""


class SequenceScorer(torch.nn.Module):
    """A causal language model as a map from row batches to log-probabilities of completions."""

    def __init__(self, model: Any, config: RowConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    @property
    def head(self) -> Head:
        """What makes logits of the states."""
        return Head(None) if self.config.form == "plain" else model_head(self.model)

    @property
    def _form(self) -> str:
        return "packed" if self.config.form == "auto" else self.config.form

    def states(self, batch: RowBatch) -> Tensor:
        """[M, H] that predict each scored token, in the order of ``targets``: hidden states; of ``plain``
        rows logits.

        Raises:
            ModelError: the model does not take rows of this form.
        """
        form = self._form
        # at each forward, as the model may be drawn from, or scored in another form, between two of them
        attend = use_prefix_attention if form == "packed" else use_own_attention
        with forward_errors(self.model, f"{form} rows"):
            attend(model_decoder(self.model))
            if form == "plain":
                return self._one_by_one(batch)
            if form == "alone":
                states = model_decoder(self.model)(input_ids=batch.input_ids, use_cache=False)[0]
            else:
                states = self._shared(batch, own=form == "shared")
            chosen: Tensor = states.flatten(0, 1).index_select(0, batch.predictors)
        return chosen

    def _shared(self, batch: RowBatch, *, own: bool) -> Tensor:
        """[B, T, H] of rows that share prompts: masks by our attention, or handed to the model's own."""
        decoder, masks = model_decoder(self.model), dict[str, Any]()
        if own:
            visible = batch.attention_mask
            assert visible is not None
            dtype = next(decoder.parameters()).dtype
            mask = visible if own_attention(decoder) == "sdpa" else as_scores(visible, dtype)
        elif takes_shared_rows(decoder):
            # two dimensions, so that transformers does not read packing out of positions
            mask = torch.ones_like(batch.input_ids)
            masks = {"prefix_layout": batch.layout} if batch.layout is not None else {}
        else:
            raise ModelError("its attention is its own")
        with sharing(batch.shared):
            states: Tensor = decoder(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                attention_mask=mask,
                use_cache=False,
                **masks,
            )[0]
        return states

    def _one_by_one(self, batch: RowBatch) -> Tensor:
        """[M, V] logits of the states that are scored, a row at a time without its padding: those of a prompt
        are gone before the next row.
        """
        takes = inspect.signature(bare_model(self.model).forward).parameters
        options = {"use_cache": False} if "use_cache" in takes else {}
        width, found = batch.input_ids.shape[1], []
        row_of = batch.predictors.div(width, rounding_mode="floor")  # they stand in the order of rows
        for row, length in enumerate(batch.lengths):
            logits = self.model(input_ids=batch.input_ids[row, None, :length], **options).logits[0]
            found.append(logits[batch.predictors[row_of == row] - row * width])
        return torch.cat(found)

    def forward(self, batch: RowBatch) -> Tensor:
        """[num_completions] log pi(y|x), summed over completion tokens, nats, float32."""
        states, head, dtype = self.states(batch), self.head, DTYPES[self.config.compute_dtype]
        with forward_errors(self.model, f"{self._form} rows"):
            logps = token_logps(states, batch.targets, head, dtype=dtype, tile=self.config.tile_tokens)
        each = batch.of_completions(logps)
        return torch.zeros(batch.num_completions, device=logps.device).index_add(0, batch.completion, each)


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
    shares = [(i, chosen) for i, group in enumerate(groups) for chosen in row_shares(group, config)]
    pieces = [take_completions(groups[i], chosen) for i, chosen in shares]
    plan = plan_batches(pieces, config)
    with torch.no_grad():
        for rows_of_batch in track(plan, description) if description else plan:
            batch = build_batch(pieces, rows_of_batch, config)
            logps = iter(score_batch(scorer, batch.to(device), config).tolist())
            for piece in batch.groups:
                index, chosen = shares[piece]
                for k in chosen:
                    result[index][k] = next(logps)
    return result
