"""Where the prompts and completions of groups lie in one flat row of tokens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError


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

    def alone(self) -> Iterator[tuple[slice, "Layout"]]:
        """Each group as a row of its own, with its place in this one."""
        for (start, *_), group in zip(self.segments(), self.groups, strict=True):
            layout = Layout((group,))
            yield slice(start, start + layout.num_tokens), layout

    def number(self, masks: "GroupMasks") -> Tensor:
        """[1, 1, 1, 1] number of masks that some layers need, for their models to hand to our attention."""
        numbered = self.prepared.setdefault("limited", [])
        numbered.append(masks)
        return torch.full((1, 1, 1, 1), len(numbered) - 1)

    def masks(self, number: Tensor) -> "GroupMasks":
        """Those that ``number`` gave a number.

        Raises:
            ModelError: the model made a mask itself.
        """
        numbered: list[GroupMasks] = self.prepared.get("limited", [])
        if number.numel() != 1 or not 0 <= int(number) < len(numbered):
            raise ModelError("its layers make masks of their own")
        return numbered[int(number)]


GroupMasks = list[tuple[slice, Tensor]]
"""Of each group of a flat row: its tokens, and [t, t] True where one (first) sees another (second)."""


@dataclass(frozen=True, slots=True)
class SharedRows:
    """Rows in which completions share their prompt, as a forward finds them."""

    positions: Tensor
    """[B, T]; a completion's start where its prompt ends."""
    longest: int
    """Tokens of the longest prompt and completion together."""
    layout: Layout | None
    """Of a flat row; B is 1 then."""
    visible: Tensor | None
    """[B, 1, T, T] of rows that have no layout: True where the query (third) sees the key (fourth)."""

    def limited(self, sees: Callable[..., Tensor]) -> Tensor | GroupMasks:
        """What is visible where a layer sees less than all that came before.

        Args:
            sees: of batch, head, query and key, by position, as ``transformers`` makes masks.
        """
        first = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=self.positions.device)
        if self.layout is None:
            assert self.visible is not None
            query, key = self.positions[:, None, :, None], self.positions[:, None, None, :]
            return self.visible & sees(first, first, query, key)
        found = []
        for here, alone in self.layout.alone():
            at = self.positions[:, here]
            seen = sees(first, first, at[:, None, :, None], at[:, None, None, :])[0, 0]
            found.append((here, seen & visible_keys(*alone.owners()).to(seen.device)))
        return found


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
