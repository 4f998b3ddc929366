"""Where the segments of groups lie in one flat row of tokens, and what each of them sees."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError

Spans = tuple[tuple[int, int], ...]
"""Of the segments of a group, the prompt first and a parent before what continues it: tokens, and how many
segments from it on continue it, itself included."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Groups laid end to end without padding: each prompt, then what continues it."""

    groups: tuple[Spans, ...]
    name: str = "split"
    """Of the attention that computes it."""
    prepared: dict[str, Any] = field(default_factory=dict, compare=False)
    """What an attention derives from the layout once and uses in every layer."""

    @property
    def num_tokens(self) -> int:
        """Of the row."""
        return sum(length for group in self.groups for length, _ in group)

    def segments(self) -> tuple[Tensor, Tensor]:
        """[T] segment of each token, counted through the row, and [T] the first that does not continue it."""
        each = [spans for group in self.groups for spans in group]
        lengths, spans = torch.tensor(each).unbind(1)
        number = torch.arange(len(each))
        return number.repeat_interleave(lengths), (number + spans).repeat_interleave(lengths)

    def alone(self) -> Iterator[tuple[slice, "Layout"]]:
        """Each group as a row of its own, with its place in this one."""
        start = 0
        for group in self.groups:
            layout = Layout((group,))
            yield slice(start, start + layout.num_tokens), layout
            start += layout.num_tokens

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
    """Rows in which completions share their beginnings, as a forward finds them."""

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
            found.append((here, seen & visible_keys(*alone.segments()).to(seen.device)))
        return found


def visible_keys(segment: Tensor, end: Tensor) -> Tensor:
    """[..., T, T] True where the query (second to last) sees the key: what came before in its own segment and
    those it continues.

    Args:
        segment: [..., T] number of each token's segment, rising along a row; padding has the greatest.
        end: [..., T] number of the first segment that does not continue that of the token.
    """
    length = segment.shape[-1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    return (segment[..., :, None] < end[..., None, :]) & causal
