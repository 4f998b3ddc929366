"""In which form of rows a model is exact: the fastest that gives what its own forward of each sequence does.

No model is refused for want of a fast form: the last of them is that forward itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from copg.errors import ModelError
from copg.lm.attention.dispatch import resolve_attention
from copg.lm.config import RowConfig
from copg.lm.load import bare_model
from copg.lm.row_batch import num_computed
from copg.lm.rows import TokenGroup, take_completions
from copg.lm.scorer import group_logps

TOLERANCES = {"float32": 2e-5, "bfloat16": 0.06}
"""Nats a token, in the mean, by which rows may differ from single sequences, by compute dtype: packing alone
moves a bfloat16 token by as much."""
FORMS = ("packed", "shared", "alone", "plain")
"""Fastest first."""
CHECKED_COMPLETIONS = 4
"""Of each group that is checked, the longest: each costs one forward of its own."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The rows in which a model computes, and why not in faster ones."""

    rows: RowConfig
    """As they were asked for, with the form."""
    difference: float
    """Nats a token from single sequences, in the mean of what was checked."""
    longest: int
    """Tokens of the longest prompt and completion that were checked."""
    refused: dict[str, str]
    """Of each faster form, why it was not taken."""

    def about(self, groups: Sequence[TokenGroup], device: torch.device) -> dict[str, Any]:
        """For the record of a run; ``cost``: tokens computed over the fewest possible, of ``groups``."""
        fewest = max(1, sum(group.num_tokens for group in groups))
        return {
            "form": self.rows.form,
            "attention": resolve_attention(self.rows.attention, device)
            if self.rows.form == "packed"
            else "own",
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
    """
    examples = longest_groups(groups)
    alone = single_logps(model, examples, rows)
    num_tokens = sum(len(ids) for group in examples for ids in group.completion_ids)
    refused: dict[str, str] = {}
    for form in FORMS if rows.form == "auto" else (rows.form,):
        fitted = replace(rows, form=form)
        try:
            together = group_logps(model, examples, rows=_in_one_row(fitted, examples))
        except ModelError as error:
            refused[form] = str(error)
            continue
        pairs = (pair for each in zip(alone, together, strict=True) for pair in zip(*each, strict=True))
        difference = sum(abs(a - b) for a, b in pairs) / max(1, num_tokens)
        if difference <= TOLERANCES[rows.compute_dtype]:  # never of what is no number
            longest = max((group.longest for group in examples), default=0)
            return Fit(fitted, difference, longest, refused)
        refused[form] = f"differs from single sequences by {difference:.2g} nats a token"
    kind, why = bare_model(model).config.model_type, "; ".join(f"{f}: {r}" for f, r in refused.items())
    raise ModelError(f"model type {kind!r} is not exact in rows: {why}")


def longest_groups(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The group with the longest sequence and the one with most tokens, with their longest completions."""
    found = {}
    for size in (lambda i: groups[i].longest, lambda i: groups[i].num_tokens):
        rest = [i for i in range(len(groups)) if i not in found]
        if rest:
            found[max(rest, key=size)] = None
    chosen = []
    for i in found:
        lengths = [len(ids) for ids in groups[i].completion_ids]
        order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))[:CHECKED_COMPLETIONS]
        chosen.append(take_completions(groups[i], sorted(order)))
    return chosen


def single_logps(model: Any, groups: Sequence[TokenGroup], rows: RowConfig) -> list[list[float]]:
    """Log-probability of every completion, nats, by the model's own forward of that sequence alone.

    Raises:
        ModelError: the forward fails, or what a token is given depends on what follows it.
    """
    plain = replace(rows, form="plain", tokens_per_row=0, split_groups=False)
    found = group_logps(model, groups, rows=plain)
    for group in groups:
        ids = [*group.prompt_ids, *max(group.completion_ids, key=len)]
        if len(ids) > len(group.prompt_ids) + 1:
            _check_causal(model, group, ids, plain)
    return found


def _check_causal(model: Any, group: TokenGroup, ids: list[int], plain: RowConfig) -> None:
    """The first token of a completion must be as probable without those after it.

    Raises:
        ModelError: it is not: the model is no language model that draws from left to right.
    """
    start = len(group.prompt_ids)
    short, long = (
        group_logps(model, [TokenGroup(ids[:start], [ids[start:end]])], rows=plain)[0][0]
        for end in (start + 1, len(ids))
    )
    rest = group_logps(model, [TokenGroup(ids[: start + 1], [ids[start + 1 :]])], rows=plain)[0][0]
    if not abs(short + rest - long) <= len(ids) * TOLERANCES[plain.compute_dtype]:
        kind = bare_model(model).config.model_type
        raise ModelError(
            f"model type {kind!r} gives a token another probability once others follow it: it sees what it "
            "should predict (is_decoder=true in its config.json?)"
        )


def _in_one_row(rows: RowConfig, groups: Sequence[TokenGroup]) -> RowConfig:
    """Any groups may share a row, unless they are split."""
    return rows if rows.split_groups else replace(rows, tokens_per_row=sum(g.num_tokens for g in groups))
