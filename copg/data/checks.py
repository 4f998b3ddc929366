"""What is expected of records, groups and splits."""

from dataclasses import dataclass

DEFECTS = {
    "invalid_utf8": "text is UTF-8",
    "invalid_json": "a line is JSON, without NaN and Infinity",
    "duplicate_key": "a key stands once in an object",
    "not_an_object": "a row is an object, with as many cells as the header",
    "missing_field": "a prompt and its completions are there",
    "ambiguous_shape": "the fields are those of one shape",
    "wrong_type": "prompts and completions are text or chats, and rewards numbers",
}
"""What keeps a row from being a record at all, and what is expected instead."""
UNFIT = {
    "prompt_refused": "the chat template takes the messages, with the tools and settings of the record",
    "prompt_of_too_many_tokens": "a prompt leaves room for a completion in the model's context",
    "completion_refused": "the chat template writes what an assistant says",
    "completion_of_too_many_tokens": "a completion fits into the model's context, after its prompt",
    "completion_without_words": "a completion has words beside its thinking",
    "token_without_embedding": "the model has an embedding for each token",
}
"""What keeps a record from a model whose tokeniser is known: its prompt, or each of its completions."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a derived column, and what becomes of the rows that break it."""

    reason: str
    """What a row that breaks it is counted under."""
    says: str
    """What is expected, in words."""
    column: str
    """Of counts or lengths, never of texts, so that a check costs the same whatever the texts."""
    maximum: float | None = None
    minimum: float | None = None
    forbidden: str | None = None
    """A value that must not occur, instead of a range."""
    rejects: bool = True
    """False: only reported."""
    detail: str = ""
    """The particulars of a rejected row, with derived columns in braces."""


def _reported(reason: str, says: str) -> Check:
    """That a column is 0, which is called as the reason is."""
    return Check(reason, says, reason, 0, rejects=False)


BLANK_PROMPT = Check(
    "blank_prompt",
    "a prompt has visible characters",
    "blank_prompts",
    0,
    detail="a prompt without a visible character",
)
NO_COMPLETIONS = Check(
    "no_completions", "there is a completion", "completions", minimum=1, detail="no completion at all"
)
OF_RECORDS = [
    Check(
        "reward_count",
        "there is one reward for each completion, or none at all",
        "rewards_amiss",
        0,
        detail="{rewards_given} rewards for {completions} completions, {rewards_null} of them null",
    ),
    Check(
        "nonfinite_reward",
        "rewards are finite, of a size up to 1e15",
        "rewards_nonfinite",
        0,
        detail="{rewards_nonfinite} of {rewards_given} rewards are NaN, infinite or beyond 1e15",
    ),
    Check(
        "blank_completion",
        "completions have visible characters",
        "blank_completions",
        0,
        detail="{blank_completions} of {completions} completions without a visible character",
    ),
    _reported("control_characters", "there are no control characters but tabs and line ends"),
]
"""Of each record, whatever is asked for."""


def record_checks(
    *,
    max_prompt_chars: int | None,
    max_completion_chars: int | None,
    fitted: bool = False,
    min_completions: int = 2,
) -> list[Check]:
    """Expectations of single records; the first that a record breaks is its reason for rejection.

    Args:
        max_prompt_chars: None for no limit, as for completions.
        fitted: whether they are held against a model's tokeniser.
        min_completions: of a prompt; only at 0 may a record have none.
    """
    defects = DEFECTS | (UNFIT if fitted else {})
    checks = [
        *(Check(reason, says, "defect", forbidden=reason) for reason, says in defects.items()),
        BLANK_PROMPT,
        *([NO_COMPLETIONS] if min_completions else []),
        *OF_RECORDS,
    ]
    for what, limit in (("prompt", max_prompt_chars), ("completion", max_completion_chars)):
        if limit is not None:
            says = f"no {what} is longer than {limit:,} characters"
            detail = f"a {what} of {{{what}_chars}} characters, max_{what}_chars={limit}"
            checks.append(Check(f"{what}_too_long", says, f"{what}_chars", limit, detail=detail))
    return checks


MEMBER_CHECKS = [
    Check(
        "missing_reward",
        "the records of a prompt come with rewards, or none of them does",
        "lone_without_reward",
        0,
        detail="no reward, though other records of this prompt have one",
    ),
]
"""Of records, once it is known which others have the same prompt."""

TOO_FEW = Check(
    "fewer_than_two_distinct_completions",
    "a prompt has two distinct completions",
    "distinct_completions",
    minimum=2,
    detail="{distinct_completions} distinct completion of this prompt in {records} records",
)
REPORTED = [
    Check("merged_records", "a prompt stands in one record", "records", 1, rejects=False),
    _reported("differing_columns", "merged records agree in their other columns"),
    _reported("other_forms", "no two prompts differ in white space or Unicode form alone"),
    _reported("duplicate_completions", "no completion of a prompt stands twice"),
    _reported("conflicting_rewards", "equal completions have equal rewards"),
    _reported("unrewarded", "completions came with rewards"),
    _reported("tied", "the rewards of a prompt differ"),
]
"""What is reported of all completions of a prompt, pooled."""


def group_checks(min_completions: int = 2) -> list[Check]:
    """Expectations of all completions of a prompt, pooled.

    Args:
        min_completions: distinct ones, at least; of fewer than two, others are drawn later.
    """
    return [TOO_FEW, *REPORTED] if min_completions > 1 else REPORTED


SPLIT_CHECKS = [
    Check("leaked_prompts", "no prompt is in two splits", "shared_prompts", 0),
    Check(
        "near_leaked_prompts",
        "no prompts of two splits are equal but for case, punctuation or chat form",
        "near_prompts",
        0,
        rejects=False,
    ),
]
"""Of two splits."""
