"""Our engine: completions batched by length, with noise that no batch can change."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from copg.errors import RecordError
from copg.lm.batches import length_batches
from copg.lm.config import GenerationConfig
from copg.lm.generation import Generated, Policy, generated, max_prompt_tokens, noise_digest
from copg.progress import track

KEPT_FRACTION = 0.75
"""A batch is cut down to its running sequences once no more than this share of it runs."""


def draw(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    noise_keys: Sequence[str],
    config: GenerationConfig,
    *,
    description: str | None = None,
) -> list[Generated]:
    """As ``Engine`` says, by the model in this process.

    The token at step t is the inverse of the model's cumulative distribution at a uniform number that
    (seed, noise key, t) alone decide. So a sequence is the same, up to the rounding of logits, whatever
    shares its batch, and two policies that draw with equal keys share their noise. Prompts are left-padded
    here; equal ones (several samples) are read once a batch. Dropout is off while this runs, whatever mode
    the model was in.
    """
    model, bfloat16 = policy.model, policy.rows.compute_dtype == "bfloat16"
    if len(prompts) != len(noise_keys):
        raise ValueError(f"{len(prompts)} prompts and {len(noise_keys)} noise keys cannot be paired")
    room = max_prompt_tokens(model.config, config)
    for prompt, key in zip(prompts, noise_keys, strict=True):
        if not 0 < len(prompt) <= room:
            raise RecordError(f"prompt {key!r} has {len(prompt)} tokens; the model has room for 1 to {room}")
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            drawn = _draw(model, prompts, noise_keys, config, policy.codec.stops)
            found = dict(track(drawn, description, len(prompts)) if description else drawn)
    finally:
        model.train(was_training)
    return generated([found[index] for index in range(len(prompts))], prompts, policy.codec)


def uniform_noise(seed: int, noise_key: str, num_steps: int) -> NDArray[np.float64]:
    """[num_steps] uniform in [0, 1): the start of one endless stream, whatever ``num_steps`` is."""
    key = int.from_bytes(noise_digest(seed, noise_key)[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(num_steps)


def _draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    noise_keys: Sequence[str],
    config: GenerationConfig,
    stops: frozenset[int],
) -> Iterator[tuple[int, list[int]]]:
    """(index of the prompt, token ids) of each completion, as they end."""
    # the longest first: memory runs out early or not at all; equal prompts together
    room = [len(prompt) + config.max_new_tokens for prompt in prompts]
    for batch in length_batches(room, config.tokens_per_batch, ties=[list(prompt) for prompt in prompts]):
        noise = np.stack([uniform_noise(config.seed, noise_keys[i], config.max_new_tokens) for i in batch])
        for row, ids in _draw_batch(model, [prompts[i] for i in batch], noise, config, stops):
            yield batch[row], ids


def _draw_batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    noise: NDArray[np.float64],
    config: GenerationConfig,
    stops: frozenset[int],
) -> Iterator[tuple[int, list[int]]]:
    """(row, token ids) of each completion, as they end."""
    decoder = _Decoder(model, prompts)
    drawn: list[list[int]] = [[] for _ in prompts]
    running = held = list(range(len(prompts)))
    for step in range(config.max_new_tokens):
        tokens = _choose(decoder.logits, noise[held, step], config.temperature)
        token_of = dict(zip(held, tokens.tolist(), strict=True))
        for row in running:
            drawn[row].append(token_of[row])
        yield from ((row, drawn[row]) for row in running if token_of[row] in stops)
        running = [row for row in running if token_of[row] not in stops]
        if not running or step + 1 == config.max_new_tokens:
            break
        if len(running) <= KEPT_FRACTION * len(held):
            kept = np.flatnonzero(np.isin(held, running)).tolist()
            tokens, held = tokens[kept], running
            decoder.keep(kept)
        decoder.advance(tokens)
    yield from ((row, drawn[row]) for row in running)


def _choose(logits: Tensor, noise: NDArray[np.float64], temperature: float) -> Tensor:
    """[B] tokens from [B, V] logits and [B] uniform numbers; sums in float64, as 128k terms need."""
    top, likeliest = logits.max(dim=-1)
    if not bool(top.isfinite().all()):
        raise FloatingPointError("logits are not finite: the policy has diverged")
    if temperature == 0:
        return likeliest
    cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(-1, dtype=torch.float64)
    at = torch.from_numpy(noise).to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, at, right=True)[:, 0].clamp_max_(logits.shape[1] - 1)


class _Decoder:
    """Rows of a batch, each some tokens further than before, with their keys and values."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        unique = list(dict.fromkeys(map(tuple, prompts)))
        row_of = {prompt: row for row, prompt in enumerate(unique)}
        width = max(map(len, unique))
        tokens, mask = np.zeros((len(unique), width), np.int64), np.zeros((len(unique), width), np.int64)
        for row, prompt in enumerate(unique):
            tokens[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
        device = next(model.parameters()).device
        self.model = model
        self.cache = Cache(layers=[_GrowingLayer() for _ in range(model.config.num_hidden_layers)])
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
