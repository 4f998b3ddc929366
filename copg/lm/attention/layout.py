"""Where the prompts and completions of groups lie in one flat row of tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Groups laid end to end without padding: each prompt, then its completions."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]
    """Of each group: tokens of the prompt, tokens of each completion."""
    name: str = "split"
    """Of the attention that computes it."""
    prepared: dict[str, Any] = field(default_factory=dict, compare=False)
    """What an attention derives from the layout once and uses in every layer."""

    @property
    def num_tokens(self) -> int:
        """Of the row."""
        return sum(prompt + sum(completions) for prompt, completions in self.groups)

    def segments(self) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """Of each group: first token, tokens of the prompt, runs (count, length) of equal completions."""
        start = 0
        for prompt, completions in self.groups:
            yield start, prompt, [(len(list(run)), length) for length, run in groupby(completions)]
            start += prompt + sum(completions)

    def owners(self) -> tuple[Tensor, Tensor]:
        """[T] group of each token, and [T] its part: 0 for the prompt, k for completion k."""
        sizes = [[prompt, *completions] for prompt, completions in self.groups]
        owner = [torch.full((sum(parts),), index) for index, parts in enumerate(sizes)]
        part = [torch.full((size,), k) for parts in sizes for k, size in enumerate(parts)]
        return torch.cat(owner), torch.cat(part)


def visible_keys(owner: Tensor, part: Tensor) -> Tensor:
    """[..., T, T] True where the query (second to last) sees the key: the prompt and itself, causally.

    Args:
        owner: [..., T] group of each token; padding has a value of its own.
        part: [..., T] 0 for the prompt, k for completion k.
    """
    same_group = owner[..., :, None] == owner[..., None, :]
    visible = (part[..., None, :] == 0) | (part[..., :, None] == part[..., None, :])
    length = owner.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool, device=owner.device).tril()
    return same_group & visible & causal
