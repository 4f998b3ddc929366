"""Held-out prompts, and what a policy makes of them: completions, rewards, distance to the reference."""

import heapq
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from copg.data.group_files import read_groups
from copg.errors import RecordError
from copg.lm.config import GenerationConfig, RowConfig, TextConfig
from copg.lm.divergence import Trace, compare_reference, trace_policy
from copg.lm.forms import fit_rows
from copg.lm.generation import Generated, Policy, load_engine, max_prompt_tokens
from copg.lm.load import check_vocabulary, load_codec, load_config, pick_device
from copg.lm.mixing import MixedModel
from copg.lm.rows import TokenGroup
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from copg.records import Completion, Group, prompt_text
from copg.rewards.bulk import score_drawn
from copg.rewards.mixture import Mixture

GENERATIONS = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("parts", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("log_ratio", pa.float64(), nullable=False),
        pa.field("kl", pa.float64(), nullable=False),
    ]
)
"""One row a completion; ``log_ratio`` (policy minus reference) and ``kl`` (over the whole vocabulary at each
position) are in nats, summed over its tokens."""


@dataclass(slots=True)
class HeldOut:
    """A held-out prompt and what was drawn for it, one value a completion."""

    split: str
    group: Group
    opening: Opening
    """The prompt as the model reads it."""
    drawn: list[Generated] = field(default_factory=list)
    log_ratios: list[float] = field(default_factory=list)
    """Policy minus reference, nats, summed over the completion's tokens."""
    kls: list[float] = field(default_factory=list)
    """KL(policy || reference) over the whole vocabulary at each position, nats, summed over its tokens."""
    rewards: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    """Each reward before weighting."""

    @property
    def undrawn(self) -> "HeldOut":
        """The same prompt, for another policy."""
        return HeldOut(self.split, self.group, self.opening)

    @property
    def prompt_ids(self) -> list[int]:
        """Of the prompt."""
        return self.opening.ids

    @property
    def token_group(self) -> TokenGroup:
        """All completions drawn, so that they share their prompt in a row."""
        return TokenGroup(self.prompt_ids, [each.token_ids for each in self.drawn], self.group.id)


@dataclass(frozen=True, kw_only=True)
class PolicySampler:
    """Draws completions of policies, and measures how far they lie from the reference."""

    model: str
    """The reference; its tokeniser encodes every prompt."""
    revision: str | None
    samples_per_prompt: int
    generation: GenerationConfig
    rows: RowConfig
    text: TextConfig = field(default_factory=TextConfig)
    form: dict[str, Any] = field(default_factory=dict, init=False)
    """In which rows the policy was computed, at which cost; empty for the reference, which needs none."""

    @cached_property
    def codec(self) -> TextCodec:
        """Of the reference, for every policy."""
        return load_codec(self.model, revision=self.revision, text=self.text)

    def read(self, groups: Path, split: str, num_prompts: int) -> tuple[list[HeldOut], int, int]:
        """Read the first prompts of a split by id.

        Ids are digests, so the first by id are a random sample, and the same in every run.

        Returns:
            The prompts that fit into the context, how many do not, and the most tokens a prompt may have.
        """
        room = max_prompt_tokens(load_config(self.model, revision=self.revision), self.generation)
        first = heapq.nsmallest(num_prompts, read_groups(groups, split), key=lambda group: group.id)
        encoded = [HeldOut(split, group, self.codec.open(group.prompt, group.columns)) for group in first]
        fitting = [prompt for prompt in encoded if len(prompt.prompt_ids) <= room]
        return fitting, len(encoded) - len(fitting), room

    def draw(self, prompts: Sequence[HeldOut], policy: Path | None) -> None:
        """Fill ``drawn``, ``log_ratios`` and ``kls``; those of the reference itself are 0 without a pass.

        Policy and reference are in memory one after the other; between them the policy leaves a hidden state
        a token, in memory up to ``copg.lm.divergence.IN_MEMORY`` bytes, in a temporary file beyond.

        Args:
            prompts: of all splits.
            policy: model or adapter directory; None draws from the reference.

        Raises:
            ModelError: a model cannot be loaded, the policy has another vocabulary than the reference, or
                there is no room for the hidden states.
            FloatingPointError: logits or log-probabilities that are not finite.
        """
        trace = self._draw(prompts, policy)
        if trace is None:
            for prompt in prompts:
                prompt.kls, prompt.log_ratios = ([0.0] * self.samples_per_prompt for _ in range(2))
            return
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._compare(prompts, trace, self.policy(None), 1.0)

    def draw_mixed(
        self, prompts: Sequence[HeldOut], policy: Policy, reference: Policy, weight: float
    ) -> None:
        """As ``draw``, of the mix of two models' log-probabilities, token by token; both are in memory.

        Args:
            prompts: of all splits.
            policy: over the same vocabulary as the reference.
            reference: that of this sampler.
            weight: of the policy (``copg.lm.mixing``).

        Raises:
            FloatingPointError: logits or log-probabilities that are not finite.
        """
        model = MixedModel(policy.model, reference.model, weight)
        self._complete(prompts, Policy(codec=self.codec, rows=self.rows, loaded=model))
        self._compare(prompts, self._trace(prompts, policy), reference, weight)

    def _draw(self, prompts: Sequence[HeldOut], policy: Path | None) -> Trace | None:
        """Fill ``drawn``; return the policy's trace for the reference's pass, None for the reference."""
        source = self.policy(policy)
        if policy is not None:
            check_vocabulary(policy, self.codec.tokenizer, self.model)
        self._complete(prompts, source)
        return None if policy is None else self._trace(prompts, source)

    def _complete(self, prompts: Sequence[HeldOut], source: Policy) -> None:
        """Fill ``drawn``."""
        samples = range(self.samples_per_prompt)
        ids = [prompt.prompt_ids for prompt in prompts for _ in samples]
        keys = [f"{prompt.group.id}/{sample}" for prompt in prompts for sample in samples]
        drawn = iter(load_engine(self.generation)(source, ids, keys, self.generation, description="draw"))
        for prompt in prompts:
            of_prompt = (next(drawn) for _ in samples)
            prompt.drawn = [
                replace(each, text=self.codec.said(prompt.opening, each.text)) for each in of_prompt
            ]

    def _trace(self, prompts: Sequence[HeldOut], policy: Policy) -> Trace:
        """What the policy leaves of the completions drawn, for the reference's pass."""
        groups = [prompt.token_group for prompt in prompts]
        fit = fit_rows(policy.model, groups, self.rows.unlimited)
        self.form.update(fit.about(groups, pick_device()))
        return trace_policy(policy.model, groups, fit.rows, description="policy")

    def _compare(self, prompts: Sequence[HeldOut], trace: Trace, reference: Policy, weight: float) -> None:
        """Fill ``kls`` and ``log_ratios`` by the reference's pass."""
        groups = [prompt.token_group for prompt in prompts]
        rows = fit_rows(reference.model, groups, self.rows.unlimited).rows
        kls, log_ratios = compare_reference(
            reference.model, groups, trace, rows, weight=weight, description="reference"
        )
        for prompt, of_policy, of_drawn in zip(prompts, kls, log_ratios, strict=True):
            prompt.kls, prompt.log_ratios = of_policy, of_drawn
            if not all(map(math.isfinite, prompt.kls + prompt.log_ratios)):
                raise FloatingPointError("log-probabilities are not finite: the policy has diverged")

    def policy(self, folder: Path | None) -> Policy:
        """The policy that lies in a folder; without one, the reference."""
        where, revision = (self.model, self.revision) if folder is None else (folder, None)
        return Policy(codec=self.codec, location=where, revision=revision, rows=self.rows)


def longer_than(prompts: Sequence[HeldOut], codec: TextCodec, most: int) -> tuple[int, int]:
    """Of the logged completions of held-out prompts, those of more than ``most`` tokens, and all."""
    lengths = []
    for prompt in prompts:
        for logged in prompt.group.completions:
            with suppress(RecordError):  # what the model could not say has no length
                encoded = codec.encode(prompt.opening, logged.text, finished=logged.finished, boundary=False)
                lengths.append(len(encoded.ids))
    return sum(length > most for length in lengths), len(lengths)


def score(mixture: Mixture, prompts: Sequence[HeldOut]) -> None:
    """Fill ``rewards`` and ``parts`` of what was drawn."""
    drawn = [
        Group(
            prompt.group.id,
            prompt.group.prompt,
            [Completion(each.text) for each in prompt.drawn],
            prompt.group.columns,
            source=prompt.group.source or prompt.group.id,
        )
        for prompt in prompts
    ]
    for prompt, scores in zip(prompts, score_drawn(mixture, drawn), strict=True):
        prompt.rewards, prompt.parts = scores.total, scores.parts


def generations(prompts: Sequence[HeldOut]) -> pa.Table:
    """Rows of ``GENERATIONS``, in the order of the prompts."""
    rows = [
        {
            "split": prompt.split,
            "id": prompt.group.id,
            "prompt": prompt_text(prompt.group.prompt),
            "sample": sample,
            "completion": drawn.text,
            "num_tokens": len(drawn.token_ids),
            "finished": drawn.finished,
            "reward": prompt.rewards[sample],
            "parts": sorted((name, values[sample]) for name, values in prompt.parts.items()),
            "log_ratio": prompt.log_ratios[sample],
            "kl": prompt.kls[sample],
        }
        for prompt in prompts
        for sample, drawn in enumerate(prompt.drawn)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATIONS)
