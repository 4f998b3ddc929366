"""Which methods have a beta in reward units."""

ORDER_ALONE = frozenset(("dpo", "dpo_disjoint", "ipo", "ipo_disjoint", "ipo_length_normalised", "sft"))
"""Methods that see no more of rewards than their order, and whose beta is not in reward units."""


def has_reward_units(method: str | None) -> bool:
    """Whether a method's beta is in reward units per nat; None is no method, as of the reference."""
    return method is not None and method not in ORDER_ALONE
