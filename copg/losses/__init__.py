"""Losses of groups of completions: a method is one file here and one line of ``LOSSES``.

Nothing is loaded before a loss is asked for by name, and then its own file alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from copg.errors import nearest

if TYPE_CHECKING:
    from copg.losses.groups import GroupLoss

LOSSES = {
    "copg": "copg.losses.copg:copg_loss",
    "copg_mean": "copg.losses.copg:copg_mean_loss",
    "dpo": "copg.losses.dpo:dpo_loss",
    "dpo_disjoint": "copg.losses.dpo:dpo_disjoint_loss",
    "ipo": "copg.losses.ipo:ipo_loss",
    "ipo_disjoint": "copg.losses.ipo:ipo_disjoint_loss",
    "ipo_length_normalised": "copg.losses.ipo:ipo_length_normalised_loss",
    "pg": "copg.losses.pg:pg_loss",
    "pg_regularised_value": "copg.losses.pg:pg_regularised_value_loss",
    "pg_value": "copg.losses.pg:pg_value_loss",
    "sft": "copg.losses.sft:sft_loss",
}
"""Module and function of each loss, by the name that a trial gives as its ``method``."""


def check_method(method: str) -> None:
    """Raise ``ValueError`` when there is no such method; nothing is loaded."""
    if method not in LOSSES:
        known = list(LOSSES)
        raise ValueError(f"method={method!r} is unknown; use one of {known}{nearest(method, known)}")


def load_loss(method: str) -> "GroupLoss":
    """The loss called ``method``.

    Raises:
        ValueError: when there is no such method.
    """
    check_method(method)
    module, _, function = LOSSES[method].partition(":")
    loss: GroupLoss = getattr(import_module(module), function)
    return loss
