"""The logits of the next token of each row of a batch: with keys and values kept, or by the whole forward."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from copg.lm.anatomy import read_anatomy
from copg.lm.load import forward_errors
from copg.lm.memory import memory_mistake

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.5}
"""By which a logit with keys kept may differ from one without, over the spread of the logits."""
CHECKED_STEPS = 3


class Decoder(Protocol):
    """Rows of a batch, each some tokens further than before."""

    logits: Tensor
    """[B, V] of the next token, float32."""

    def keep(self, rows: Sequence[int]) -> None:
        """Hold these rows from now on, in this order; a row may come several times."""

    def advance(self, tokens: Tensor) -> None:
        """Append one token a row."""


def choose_decoder(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> "type[CachedDecoder | WholeDecoder]":
    """The one with keys and values kept, where they are the state of all layers and give the same logits.

    Checked on the shortest and the longest prompt together, some tokens far.
    """
    if not read_anatomy(model.config).has_keys or not prompts:
        return WholeDecoder
    examples = [min(prompts, key=len), max(prompts, key=len)]
    try:
        kept, whole = CachedDecoder(model, examples), WholeDecoder(model, examples)
        for step in range(min(CHECKED_STEPS, max_new_tokens)):
            if step:
                tokens = whole.logits.argmax(-1)
                kept.advance(tokens)
                whole.advance(tokens)
            apart = (kept.logits - whole.logits).abs().max()
            if not bool(apart <= TOLERANCES[_dtype(model)] * whole.logits.std()):
                return WholeDecoder if bool(whole.logits.isfinite().all()) else CachedDecoder
    except Exception as error:
        if memory_mistake(error, {}) is not None:
            raise
        return WholeDecoder
    return CachedDecoder


def _dtype(model: Any) -> torch.dtype:
    device = next(model.parameters()).device.type
    return torch.bfloat16 if torch.is_autocast_enabled(device) else torch.float32


class WholeDecoder:
    """By the forward of every sequence from its start: slow, and right for whatever state a model keeps."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        self.model = model
        self.rows = [list(prompt) for prompt in prompts]
        self.logits = self._forward()

    def keep(self, rows: Sequence[int]) -> None:
        """Hold these rows from now on, in this order; a row may come several times."""
        self.rows = [list(self.rows[row]) for row in rows]
        self.logits = self.logits[torch.tensor(rows, device=self.logits.device)]

    def advance(self, tokens: Tensor) -> None:
        """Append one token a row."""
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        self.logits = self._forward()

    @torch.no_grad()
    def _forward(self) -> Tensor:
        """Rows of one length together, so that none is padded; equal ones are computed once."""
        device, found = next(self.model.parameters()).device, dict[tuple[int, ...], Tensor]()
        for length in sorted({len(row) for row in self.rows}):
            texts = list(dict.fromkeys(tuple(row) for row in self.rows if len(row) == length))
            with forward_errors(self.model, "the next token"):
                logits = self.model(input_ids=torch.tensor(texts, device=device)).logits[:, -1].float()
            found |= dict(zip(texts, logits, strict=True))
        return torch.stack([found[tuple(row)] for row in self.rows])


class CachedDecoder:
    """With the keys and values of all tokens; prompts are padded on their left."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        unique = list(dict.fromkeys(map(tuple, prompts)))
        row_of = {prompt: row for row, prompt in enumerate(unique)}
        width = max(map(len, unique))
        tokens, mask = np.zeros((len(unique), width), np.int64), np.zeros((len(unique), width), np.int64)
        for row, prompt in enumerate(unique):
            tokens[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        device = next(model.parameters()).device
        self.model = model
        self.cache = Cache(layers=[_GrowingLayer() for _ in range(read_anatomy(model.config).layers)])
        self.mask = torch.from_numpy(mask).to(device)
        """[B, T] 1 where a token is, 0 where the prompt is padded on its left."""
        positions = (self.mask.cumsum(1) - 1).clamp_min(0)
        self.logits = self._forward(torch.from_numpy(tokens).to(device), positions)
        """[B, V] of the next token, float32."""
        if len(unique) < len(prompts):
            self.keep([row_of[tuple(prompt)] for prompt in prompts])

    def keep(self, rows: Sequence[int]) -> None:
        """Hold these rows from now on, in this order; a row may come several times."""
        index = torch.tensor(rows, device=self.mask.device)
        self.mask, self.logits = self.mask[index], self.logits[index]
        self.cache.batch_select_indices(index)

    def advance(self, tokens: Tensor) -> None:
        """Append one token a row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.logits = self._forward(tokens[:, None], self.mask.sum(1, keepdim=True) - 1)

    @torch.no_grad()
    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        with forward_errors(self.model, "the next token"):
            output = self.model(
                input_ids=tokens,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits: Tensor = output.logits[:, -1].float()
        return logits


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer with room to grow: appending a token does not copy those before it.

    transformers' own layer does, which took a fifth (128 tokens) to a third (512) of the time on a CPU.
    """

    ROOM = 64
    """Tokens allotted beyond what is needed now."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [B, heads, new, width] states; give back all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.room = [states[..., :0, :] for states in (key_states, value_states)]
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        for which, new in enumerate((key_states, value_states)):
            if end > self.room[which].shape[-2]:
                larger = new.new_empty(*new.shape[:-2], end + self.ROOM, new.shape[-1])
                larger[..., :start, :] = self.room[which][..., :start, :]
                self.room[which] = larger
            self.room[which][..., start:end, :] = new
        self.keys, self.values = (room[..., :end, :] for room in self.room)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Hold these rows from now on."""
        end = self.get_seq_length()
        self.room = [room[indices] for room in self.room]
        self.keys, self.values = (room[..., :end, :] for room in self.room)
