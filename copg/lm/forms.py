"""In which form of rows a model is exact: the fastest that gives what its own forward of each sequence does.

No model is refused for want of a fast form: the last of them is that forward itself.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch

from copg.errors import ModelError
from copg.lm.attention.dispatch import resolve_attention
from copg.lm.config import RowConfig
from copg.lm.load import bare_model
from copg.lm.row_batch import num_computed
from copg.lm.rows import TokenGroup, num_scored
from copg.lm.scorer import group_logps
from copg.lm.telling import checked_calls, telling_groups

TOLERANCES = {"float32": 2e-5, "bfloat16": 0.06}
"""Nats a token by which rows may differ from single sequences, by compute dtype: any completion in float32,
the mean of all in bfloat16, of which packing alone moves a token by as much."""
FORMS: tuple[Any, ...] = ("packed", "shared", "alone", "plain")
"""Fastest first."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The rows in which a model computes, and why not in faster ones."""

    rows: RowConfig
    """As they were asked for, with the form."""
    difference: float
    """Nats a token from single sequences, of what was checked; see ``apart``."""
    longest: int
    """Tokens of the longest prompt and completion that were checked."""
    refused: dict[str, str]
    """Of each faster form, why it was not taken."""
    levels: int = 0
    """Most beginnings beyond a prompt, one after the other, that completions of a checked group share."""

    def about(self, groups: Sequence[TokenGroup], device: torch.device) -> dict[str, Any]:
        """For the record of a run; ``cost``: tokens computed over the fewest possible, of ``groups``."""
        fewest = max(1, sum(group.num_tokens for group in groups))
        packed = self.rows.form == "packed"
        return {
            "form": self.rows.form,
            "attention": resolve_attention(self.rows.attention, device) if packed else "own",
            "cost": round(num_computed(groups, self.rows) / fewest, 4),
            "difference": self.difference,
            "longest_checked": self.longest,
            "refused": self.refused,
        }


def fit_rows(model: Any, groups: Sequence[TokenGroup], rows: RowConfig) -> Fit:
    """The first form in which the longest groups have the log-probabilities that they have by themselves.

    Args:
        model: in evaluation mode, on its device.
        groups: those that will be computed; the longest are checked, so that every window is left behind
            that one of them leaves.
        rows: what is asked for; a form other than ``auto`` is the only one tried.

    Raises:
        ModelError: the model does not compute these sequences at all, sees what follows a token, or is not
            exact in the form that was asked for.
        FloatingPointError: its log-probabilities are not finite.
    """
    examples = telling_groups(groups)
    calls = checked_calls(examples, groups, rows)
    checked = [group for call, _ in calls for group in call]
    alone = single_logps(model, checked, rows)
    device = next(model.parameters()).device

    def check(fitted: RowConfig) -> float | str:
        together: list[list[float]] = []
        try:
            for call, budgets in calls:
                together += group_logps(model, call, rows=replace(fitted, **budgets))
        except ModelError as error:
            return str(error)
        lengths = [[num_scored(ids) for ids in group.completion_ids] for group in checked]
        return apart(alone, together, lengths, rows.compute_dtype)

    found = choose(candidates(rows, device.type, fused_kernels(device)), check)
    if found.rows is None:
        kind = bare_model(model).config.model_type
        why = "; ".join(f"{form}: {reason}" for form, reason in found.refused.items())
        raise ModelError(f"model type {kind!r} is not exact in rows: {why}")
    longest = max((group.longest for group in examples), default=0)
    levels = max((group.levels for group in examples), default=0)
    return Fit(found.rows, found.difference, longest, found.refused, levels)


def apart(
    alone: Sequence[Sequence[float]],
    together: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    compute_dtype: str,
) -> float:
    """Nats a token by which completions differ: of the one that differs most, in bfloat16 in the mean of all.

    The rounding of bfloat16 moves a single token further than a fault would; faults are not zero in the mean.

    Args:
        alone: log-probability of each completion of each group, nats.
        together: the same in other rows.
        lengths: tokens that are counted, of each completion.

    Returns:
        NaN where one of them is.
    """
    moved = np.array(
        [abs(a - b) for each in zip(alone, together, strict=True) for a, b in zip(*each, strict=True)]
    )
    counted = np.array([max(1, length) for each in lengths for length in each])
    if not len(moved):
        return 0.0
    return float(moved.sum() / counted.sum() if compute_dtype == "bfloat16" else (moved / counted).max())


class Choice(NamedTuple):
    """What a check of some rows comes to."""

    rows: RowConfig | None
    """The first that are exact; None where none is."""
    difference: float
    """Of these, nats a token."""
    refused: dict[str, str]
    """Of each before them, by form and attention, why it was not taken."""


def choose(tried: Sequence[RowConfig], check: Callable[[RowConfig], float | str]) -> Choice:
    """The first rows that are exact: a function of what a check finds of each, and of nothing else.

    Args:
        tried: the fastest first.
        check: nats a token by which rows differ from single sequences, or why they cannot be computed;
            asked of no more rows than it takes.
    """
    refused: dict[str, str] = {}
    for rows in tried:
        found = check(rows)
        if not isinstance(found, str) and found <= TOLERANCES[rows.compute_dtype]:  # never what is no number
            return Choice(rows, found, refused)
        several = rows.form == "packed" and rows.attention != "auto"
        if not isinstance(found, str):
            found = f"differs from single sequences by {found:.2g} nats a token"
        refused[f"packed ({rows.attention})" if several else rows.form] = found
    return Choice(None, math.inf, refused)


def fit_reference(name: str, model: Any, groups: Sequence[TokenGroup], rows: RowConfig) -> Fit:
    """``fit_rows`` of a model that must be sound, called ``name``: it did not diverge in a training."""
    try:
        return fit_rows(model, groups, rows)
    except FloatingPointError as error:
        raise ModelError(f"{name}: {error}") from None


def candidates(rows: RowConfig, device: str, kernels: Collection[str]) -> list[RowConfig]:
    """What may be tried, the fastest first; a form or an attention that was asked for leaves no other.

    Args:
        rows: what is asked for.
        device: ``cpu`` or ``cuda``.
        kernels: of ``varlen`` and ``flex``, those that are installed for the device.
    """
    fused = [name for name in ("varlen", "flex") if name in kernels]
    if rows.compute_dtype != "bfloat16":
        fused = [name for name in fused if name != "varlen"]
    several = device != "cpu" and rows.attention == "auto"
    attentions: list[Any] = [*fused, "mask"] if several else [rows.attention]
    packed = [replace(rows, form="packed", attention=name) for name in attentions]
    slower = [replace(rows, form=form) for form in FORMS[1:]]
    return [each for each in packed + slower if rows.form in ("auto", each.form)]


def fused_kernels(device: torch.device) -> list[str]:
    """Those of ``varlen`` and ``flex`` that a device has what it takes for."""
    if device.type != "cuda":
        return []
    recent = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere: FlashAttention 2
    return ["varlen"] * recent + ["flex"] * (find_spec("triton") is not None)


def single_logps(model: Any, groups: Sequence[TokenGroup], rows: RowConfig) -> list[list[float]]:
    """Log-probability of every completion, nats, by the model's own forward of that sequence alone.

    Raises:
        ModelError: the forward fails, or what a token is given depends on what follows it.
        FloatingPointError: they are not finite.
    """
    plain = replace(rows, form="plain", tokens_per_row=0, split_groups=False)
    found = group_logps(model, groups, rows=plain)
    if not all(math.isfinite(value) for values in found for value in values):
        raise FloatingPointError("log-probabilities are not finite")
    any(_check_causal(model, group, plain) for group in reversed(groups))  # one tells, the shortest
    return found


def _check_causal(model: Any, group: TokenGroup, plain: RowConfig) -> bool:
    """The tokens of a completion must be as probable whatever the last one is; False where nothing tells.

    Raises:
        ModelError: they are not: the model is no language model that draws from left to right.
    """
    longest, start = max(group.completion_ids, key=len), len(group.prompt_ids)
    ids = [*group.prompt_ids, *(max(token, ~token) for token in longest)]  # all of them scored
    another = next((token for token in ids if token != ids[-1]), None)
    if another is None or len(ids) < start + 2:
        return False
    before = []
    for last in (ids[-1], another):
        row = [*ids[:-1], last]
        whole, alone = (
            group_logps(model, [TokenGroup(row[:first], [row[first:]])], rows=plain)[0][0]
            for first in (start, len(row) - 1)
        )
        before.append(whole - alone)
    if not abs(before[0] - before[1]) <= len(ids) * TOLERANCES[plain.compute_dtype]:
        kind = bare_model(model).config.model_type
        raise ModelError(
            f"model type {kind!r} gives a token another probability once others follow it: it sees what it "
            "should predict (is_decoder=true in its config.json?)"
        )
    return True
