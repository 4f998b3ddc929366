"""Losses of groups of completions: a method is one file here and one line of ``LOSSES``.

Nothing is loaded before a loss is asked for by name, and then its own file alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from copg.errors import nearest

if TYPE_CHECKING:
    from copg.losses.groups import GroupLoss

LOSSES = {
    "astar_po": "copg.losses.astar_po:astar_po_loss",
    "copg": "copg.losses.copg:copg_loss",
    "copg_mean": "copg.losses.copg:copg_mean_loss",
    "dpo": "copg.losses.dpo:dpo_loss",
    "dro_v": "copg.losses.dro_v:dro_v_loss",
    "ipo": "copg.losses.ipo:ipo_loss",
    "kto": "copg.losses.kto:kto_loss",
    "qrpo": "copg.losses.qrpo:qrpo_loss",
    "rpo": "copg.losses.rpo:rpo_loss",
    "sft": "copg.losses.sft:sft_loss",
}
"""Module and function of each loss, by the name that a trial gives as its ``method``."""
VARIANTS = {
    "dpo_disjoint": "copg.losses.dpo:dpo_disjoint_loss",
    "ipo_disjoint": "copg.losses.ipo:ipo_disjoint_loss",
    "ipo_length_normalised": "copg.losses.ipo:ipo_length_normalised_loss",
    "pg": "copg.losses.pg:pg_loss",
    "pg_regularised_value": "copg.losses.pg:pg_regularised_value_loss",
    "pg_value": "copg.losses.pg:pg_value_loss",
}
"""What the paper compares CoPG with, for the experiments: a trial may name one, and no list offers it."""
ORDER_ALONE = frozenset(
    ("dpo", "dpo_disjoint", "ipo", "ipo_disjoint", "ipo_length_normalised", "kto", "qrpo", "sft")
)
"""Methods that see no more of rewards than their order, and whose beta is not in reward units."""
WITHOUT_CONTRAST = frozenset(("dro_v", "kto", "pg", "sft"))
"""Methods that learn from a prompt whose rewards are all equal; to the others it is the pull alone."""
DRAWN_BY_REFERENCE = frozenset(("astar_po", "qrpo"))
"""Methods that take the completions for draws of the reference."""
WITH_VALUES = frozenset(("dro_v",))
"""Methods that learn the value of a prompt beside the policy, by a head that no policy keeps."""
WITH_MISMATCHED = frozenset(("kto",))
"""Methods that measure how far the policy moved on completions of other prompts."""
PUBLISHED_AS = {
    "agro": "copg",
    "gvpo": "copg",
    "oapl": "astar_po",
    "rebel": "copg",
    "soft_dpo": "rpo",
    "tba": "copg",
    "vargrad": "copg",
}
"""Other names of what is here, up to a factor; ``tests/losses/test_published_as.py`` shows each."""


def check_method(method: str) -> None:
    """Raise ``ValueError`` when there is no such method; nothing is loaded."""
    find_loss(method)


def find_loss(method: str) -> str:
    """``module:function`` of the loss called ``method``; nothing is loaded.

    Raises:
        ValueError: when there is no such method.
    """
    found = LOSSES.get(method) or VARIANTS.get(method)
    if found is None:
        known = list(LOSSES)
        other = PUBLISHED_AS.get(method)
        hint = f"; it is {other!r} here (docs/methods.md)" if other else nearest(method, known)
        raise ValueError(f"method={method!r} is unknown; use one of {known}{hint}")
    return found


def load_loss(method: str) -> "GroupLoss":
    """The loss called ``method``.

    Raises:
        ValueError: when there is no such method.
    """
    module, _, function = find_loss(method).partition(":")
    loss: GroupLoss = getattr(import_module(module), function)
    return loss
