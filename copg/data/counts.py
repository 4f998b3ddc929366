"""Counts and lengths of records, column by column: what the checks look at."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COUNTS = (
    "blank_prompts",
    "prompt_chars",
    "completions",
    "blank_completions",
    "completion_chars",
    "all_completion_chars",
    "control_characters",
    "rewards_given",
    "rewards_null",
    "rewards_amiss",
    "rewards_nonfinite",
    "unranked_completions",
    "unsaid_ends",
)
"""Of each record. Lengths are in characters; ``completion_chars`` is that of the longest;
``unsaid_ends`` are completions of which nobody said whether they were cut off."""

VISIBLE = r"[^\s\p{Z}\p{Cc}\p{Cf}]"
"""A character that leaves a mark: no white space, control, or zero-width character."""
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
"""C0 but tab, line feed and carriage return; DEL; C1."""
MAX_REWARD = 1e15
"""Size of a reward that is no number to learn from: its square, in a loss, would leave float32."""


def count_records(prompts: pa.Array, texts: pa.ListArray, rewards: pa.ListArray) -> dict[str, pa.Array]:
    """Those of ``COUNTS`` that the columns tell: all but what was said of ranks and of ends.

    Args:
        prompts: [N] text of each.
        texts: [N] completions of each.
        rewards: [N] a reward for each completion, or null.
    """
    flat, values = texts.flatten(), rewards.flatten()
    completions, given = list_lengths(texts), list_lengths(rewards)
    nulls = _per_row(values.is_null(), rewards)
    chars = pc.utf8_length(flat)
    longest = np.zeros(len(texts), np.int64)
    np.maximum.at(longest, np.repeat(np.arange(len(texts)), completions), chars.to_numpy())
    controls = pc.match_substring_regex(prompts, CONTROL).to_numpy(zero_copy_only=False)
    finite = pc.less_equal(pc.abs(values), MAX_REWARD).fill_null(False)  # NaN is not
    visible = pc.match_substring_regex(prompts, VISIBLE).to_numpy(zero_copy_only=False)
    some = rewards.is_valid().to_numpy(zero_copy_only=False)
    counts = {
        "blank_prompts": ~visible,
        "prompt_chars": pc.utf8_length(prompts).to_numpy(),
        "completions": completions,
        "blank_completions": completions - _per_row(pc.match_substring_regex(flat, VISIBLE), texts),
        "completion_chars": longest,
        "all_completion_chars": _per_row(chars, texts),
        "control_characters": controls + _per_row(pc.match_substring_regex(flat, CONTROL), texts),
        "rewards_given": given,
        "rewards_null": nulls,
        "rewards_amiss": np.where(some, np.abs(completions - given) + nulls, 0),
        "rewards_nonfinite": given - nulls - _per_row(finite, rewards),
    }
    return {name: pa.array(values.astype(np.int64)) for name, values in counts.items()}


def list_lengths(lists: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """How long each list is; 0 for null."""
    lengths: np.ndarray = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    return lengths


def _per_row(values: pa.Array, lists: pa.ListArray) -> np.ndarray:
    """Sum of the values of each list, null and empty lists included."""
    total = np.concatenate([[0], np.cumsum(values.to_numpy(zero_copy_only=False), dtype=np.int64)])
    ends = np.cumsum(list_lengths(lists))
    sums: np.ndarray = total[ends] - total[ends - list_lengths(lists)]
    return sums
