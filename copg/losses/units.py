"""Which methods have a beta in reward units."""

from copg.losses import ORDER_ALONE


def has_reward_units(method: str | None) -> bool:
    """Whether a method's beta is in reward units per nat; None is no method, as of the reference."""
    return method is not None and method not in ORDER_ALONE
