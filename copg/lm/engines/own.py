"""Our engine: completions batched by length, with noise that no batch can change."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from copg.errors import RecordError
from copg.lm.attention.dispatch import use_own_attention
from copg.lm.batches import length_batches
from copg.lm.config import GenerationConfig
from copg.lm.decoders import Decoder, choose_decoder
from copg.lm.generation import Generated, Policy, generated, max_prompt_tokens, noise_digest
from copg.lm.load import model_decoder
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
    for part in getattr(model, "parts", (model,)):
        use_own_attention(model_decoder(part))
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
    decoder_of = choose_decoder(model, prompts, config.max_new_tokens)
    for batch in length_batches(room, config.tokens_per_batch, ties=[list(prompt) for prompt in prompts]):
        noise = np.stack([uniform_noise(config.seed, noise_keys[i], config.max_new_tokens) for i in batch])
        for row, ids in _draw_batch(model, decoder_of, [prompts[i] for i in batch], noise, config, stops):
            yield batch[row], ids


def _draw_batch(
    model: Any,
    decoder_of: Callable[[Any, Sequence[Sequence[int]]], Decoder],
    prompts: Sequence[Sequence[int]],
    noise: NDArray[np.float64],
    config: GenerationConfig,
    stops: frozenset[int],
) -> Iterator[tuple[int, list[int]]]:
    """(row, token ids) of each completion, as they end."""
    decoder = decoder_of(model, prompts)
    drawn: list[list[int]] = [[] for _ in prompts]
    running = held = list(range(len(prompts)))
    for step in range(config.max_new_tokens):
        tokens = _choose(decoder.logits, noise[held, step], config.temperature, config.top_p)
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


def _choose(
    logits: Tensor, noise: NDArray[np.float64], temperature: float, top_p: float | None = None
) -> Tensor:
    """[B] tokens from [B, V] logits and [B] uniform numbers; sums in float64, as 128k terms need."""
    top, likeliest = logits.max(dim=-1)
    if not bool(top.isfinite().all()):
        raise FloatingPointError("logits are not finite: the policy has diverged")
    if temperature == 0:
        return likeliest
    chances = torch.softmax(logits / temperature, dim=-1)
    if top_p is not None:
        chances = _nucleus(chances, top_p)
    cumulative = chances.cumsum(-1, dtype=torch.float64)
    at = torch.from_numpy(noise).to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, at, right=True)[:, 0].clamp_max_(logits.shape[1] - 1)


def _nucleus(chances: Tensor, top_p: float) -> Tensor:
    """[B, V] the same, and 0 beyond the fewest likeliest tokens that hold ``top_p`` (1904.09751)."""
    ordered, tokens = chances.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1, dtype=torch.float64) - ordered  # the likeliest token has nothing before it
    return chances.scatter(-1, tokens, ordered.masked_fill(before >= top_p, 0.0))
