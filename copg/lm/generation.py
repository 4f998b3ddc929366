"""Completions drawn from a policy: what every engine of ``copg.lm.engines`` takes, promises and gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from copg.lm.anatomy import read_anatomy
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.load import load_model, pick_device
from copg.lm.scorer import DTYPES
from copg.lm.text import TextCodec

BROKEN = "\ufffd"
"""What stands in a text for bytes that are no character, as where its rest was not drawn any more."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A completion as it was drawn."""

    token_ids: list[int]
    """With the token that ended it when finished."""
    text: str
    finished: bool
    """False when ``max_new_tokens`` was reached first."""


def generated(
    drawn: Sequence[list[int]], prompts: Sequence[Sequence[int]], codec: TextCodec
) -> list[Generated]:
    """Completions from their token ids, in the order of prompts; one that ends with a stop is finished.

    The text of one that was cut off has no part of a character at its end: read again, the sign that stands
    for it would be tokens that were never drawn.
    """
    found = []
    for ids, prompt in zip(drawn, prompts, strict=True):
        text, finished = codec.decode(ids, prompt), ids[-1] in codec.stops
        found.append(Generated(ids, text if finished else text.rstrip(BROKEN), finished))
    return found


@dataclass(kw_only=True)
class Policy:
    """A model to draw from: where it lies, and itself once an engine or a pass asks for it."""

    codec: TextCodec
    """The reference's: what ends a completion is the same for every policy."""
    location: str | Path = ""
    """Model directory, adapter directory or hub name; empty: in memory alone."""
    revision: str | None = None
    """Of the hub."""
    rows: RowConfig = field(default_factory=RowConfig)
    """Precision of its weights and of its matrix products."""
    loaded: Any = None

    @property
    def model(self) -> Any:
        """The model on this process's device; it stays in memory with this object."""
        if self.loaded is None:
            dtype = DTYPES[self.rows.parameter_dtype]
            self.loaded = load_model(self.location, dtype=dtype, revision=self.revision).to(pick_device())
        return self.loaded


class Engine(Protocol):
    """Draws completions. An engine is a file of ``copg.lm.engines`` with this function, called ``draw``."""

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        noise_keys: Sequence[str],
        config: GenerationConfig,
        *,
        description: str | None = None,
    ) -> list[Generated]:
        """One completion of each prompt, in the order given.

        A completion ends with a token of ``policy.codec.stops`` or after ``max_new_tokens``, whichever is
        first. Its noise is a function of (seed, noise key), so that another key draws another completion of
        the same prompt. Whether a key draws the same tokens again in another batch, an engine says itself.

        Args:
            policy: an engine that computes elsewhere reads its ``location`` and never loads it here.
            prompts: token ids.
            noise_keys: one a prompt, for instance ``f"{group.id}/{sample}"``.
            config: length, temperature, seed and what else the engine needs.
            description: shown while it runs; None shows nothing.

        Raises:
            RecordError: a prompt without tokens, or too long for the model's context.
            ModelError: the engine cannot run.
            FloatingPointError: logits that are not finite: the policy has diverged.
        """
        ...


def load_engine(config: GenerationConfig) -> Engine:
    """The engine that the settings name; its file alone is loaded."""
    engine: Engine = import_module(f"copg.lm.engines.{config.engine_name}").draw
    return engine


def noise_digest(seed: int, noise_key: str) -> bytes:
    """What an engine makes its noise of."""
    return hashlib.sha256(f"{seed}\n{noise_key}".encode()).digest()


def max_prompt_tokens(model_config: Any, config: GenerationConfig) -> int:
    """Tokens a prompt may have, so that it and ``max_new_tokens`` fit in the model's context."""
    return (read_anatomy(model_config).context or 1 << 30) - config.max_new_tokens
