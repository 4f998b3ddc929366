"""To which norm a gradient is scaled down: one that is given, or one that those before it had."""

import math
from collections.abc import Sequence

WINDOW = 100
"""Steps whose norms are remembered."""
SHARE = 0.9
"""Of these that are at most as large as what a gradient is scaled down to."""
LEAST = 10
"""Steps before which nothing is scaled: fewer say nothing of what is usual."""


def clip_at(max_norm: float | None, norms: Sequence[float]) -> float:
    """L2 norm to which the gradient of the next step is scaled down where its own is larger.

    One of the norms before it, as they were, so that whatever multiplies all gradients alike (the scale of
    rewards, the size of groups, the length of completions, the model) changes nothing in what is scaled.

    Args:
        max_norm: as a setting gives it; None: it follows ``norms``.
        norms: of the steps so far, as ``remember`` keeps them.

    Returns:
        ``max_norm``, or the ``SHARE`` quantile of the norms; infinite while there are fewer than ``LEAST``.
    """
    if max_norm is not None:
        return max_norm
    return sorted(norms)[math.ceil(SHARE * len(norms)) - 1] if len(norms) >= LEAST else math.inf


def remember(norms: Sequence[float], norm: float) -> list[float]:
    """The latest norms and one more; one of 0, as of a step of ties at the reference, says nothing."""
    return [*norms, norm][-WINDOW:] if norm > 0 else list(norms)
