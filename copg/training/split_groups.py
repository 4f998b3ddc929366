"""Groups larger than a row: the gradient of their loss in pieces, for one more forward.

The loss of a group is a function of all its log-probabilities, so a pass without gradients finds those, and
c_i = d loss / d logp_i. Each piece then adds the gradient of its sum of c_i * logp_i: together, the same.
Values of prompts, where a method learns them, are weighed alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from copg.lm.config import RowConfig
from copg.lm.rows import TokenGroup, split_group, take_completions
from copg.lm.scorer import scorer_logps


@dataclass(frozen=True, slots=True)
class WeighedPieces:
    """What is left to do for some large groups, and what the pass without gradients found."""

    loss: Tensor
    """Of the groups, a number without gradient."""
    scored: Tensor
    """[N] log-probabilities of their completions, nats, or [N, 2] with values."""
    pieces: list[TokenGroup]
    """Each fits a row."""
    coefficients: list[Tensor]
    """Of each piece: [its completions] d loss / d logp, or [its completions, 2]."""


def weigh_pieces(
    scorer: torch.nn.Module,
    groups: Sequence[TokenGroup],
    rows: RowConfig,
    loss_of: Callable[[Tensor], Tensor],
    device: torch.device,
) -> WeighedPieces:
    """Split groups and find the weight of each completion in the gradient of their loss.

    Of no groups there is nothing: loss 0, no pieces.

    Args:
        groups: each larger than ``rows.tokens_per_row``.
        loss_of: from what the scorer gives all their completions to one number.
    """
    if not groups:
        return WeighedPieces(torch.zeros((), device=device), torch.empty(0, device=device), [], [])
    found = [each for group in scorer_logps(scorer, groups, rows, device) for each in group]
    scored = torch.tensor(found, device=device, requires_grad=True)
    loss = loss_of(scored)
    (weights,) = torch.autograd.grad(loss, scored)
    pieces: list[TokenGroup] = []
    coefficients: list[Tensor] = []
    first = 0
    for group in groups:
        for chosen in split_group(group, rows.tokens_per_row):
            pieces.append(take_completions(group, chosen))
            coefficients.append(weights[[first + k for k in chosen]])
        first += len(group.completion_ids)
    return WeighedPieces(loss.detach(), scored.detach(), pieces, coefficients)
