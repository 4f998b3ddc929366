"""The groups of a run on which a check of its rows is made, and what of them is computed together."""

from collections.abc import Sequence
from typing import Any

from copg.lm.branches import parting_completions
from copg.lm.config import RowConfig
from copg.lm.rows import TokenGroup, take_completions

CHECKED_COMPLETIONS = 4
"""Of each group that is checked, the longest: each costs one forward of its own."""
CHECKED_LEVELS = CHECKED_COMPLETIONS - 1
"""Of beginnings that completions share: another completion parts from the first at each."""


def telling_groups(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The group with the longest sequence, that with most tokens, and the shortest: rotary positions of some
    kinds depend on what else is in a batch. Of each the longest completions. Then the group whose completions
    share most beginnings beyond the prompt, one after the other, of which those that part at each.
    """
    found = list[int]()
    for size in (lambda i: groups[i].longest, lambda i: groups[i].num_tokens, lambda i: -groups[i].longest):
        rest = [i for i in range(len(groups)) if i not in found]
        found += [max(rest, key=size)] if rest else []
    chosen = []
    for i in found:
        lengths = [len(ids) for ids in groups[i].completion_ids]
        order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))[:CHECKED_COMPLETIONS]
        chosen.append(take_completions(groups[i], sorted(order)))
    deepest = max(groups, key=lambda group: group.levels, default=None)
    if deepest is not None and deepest.levels:
        chosen.append(take_completions(deepest, parting_completions(deepest.branches, CHECKED_COMPLETIONS)))
    return chosen


def checked_calls(
    examples: Sequence[TokenGroup], groups: Sequence[TokenGroup], rows: RowConfig
) -> list[tuple[list[TokenGroup], dict[str, Any]]]:
    """What a check computes together, with the budgets of its rows and batches.

    All at once where a batch of the run has room for that. Else as the run would have them, so that a check
    takes no more memory; and the longest completion beside the shortest, since what a batch holds may
    decide what its rotary positions are.

    Args:
        examples: of ``telling_groups``.
        groups: all of the run.
        rows: what is asked for.
    """
    total = _num_padded(examples)
    if total <= rows.tokens_per_batch:
        return [(list(examples), {} if rows.split_groups else {"tokens_per_row": total})]
    largest = rows.tokens_per_row
    if not rows.split_groups:
        largest = max(largest, *(group.num_tokens for group in (examples if largest else groups)))
    by_length = sorted(examples, key=lambda group: group.longest)
    pair = [_longest_alone(group) for group in (by_length[-1], by_length[0])]
    budget = _num_padded(pair)
    beside = {"tokens_per_row": budget, "tokens_per_batch": budget, "split_groups": False}
    return [(list(examples), {"tokens_per_row": largest}), (pair, beside)]


def _longest_alone(group: TokenGroup) -> TokenGroup:
    lengths = [len(ids) for ids in group.completion_ids]
    return take_completions(group, [lengths.index(max(lengths))])


def _num_padded(groups: Sequence[TokenGroup]) -> int:
    """Tokens of one batch of all completions, each with its prompt: at least what any form takes for them."""
    longest = max((group.longest for group in groups), default=0)
    return longest * sum(len(group.completion_ids) for group in groups)
