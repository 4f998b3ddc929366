"""Token ids of a completion, and what became of its text on the way to them."""

from dataclasses import dataclass

NOTES = (
    "merges_with_prompt",
    "changed_by_template",
    "changed_by_tokenizer",
    "spells_special_tokens",
    "prompts_spell_special_tokens",
    "thinking_stripped",
    "not_as_rendered",
)
"""What may become of a text on the way to its ids, and is counted."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a completion, and what became of its text on the way."""

    ids: list[int]
    """With the end of the turn when finished."""
    notes: tuple[str, ...] = ()
    """Some of ``NOTES``."""
