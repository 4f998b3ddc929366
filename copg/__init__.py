"""Contrastive Policy Gradient (CoPG): align a language model on any score, from logged data.

The names below are public, the rest is private by convention. Nothing is loaded before it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copg.artifacts import read_manifest
    from copg.data.group_files import read_groups
    from copg.errors import CopgError
    from copg.losses import LOSSES
    from copg.losses.copg import copg_loss
    from copg.records import Completion, Group
    from copg.rewards import REWARDS
    from copg.rewards.contract import RewardSpec
    from copg.rewards.mixture import build_mixture
    from copg.run.recipe import Recipe, load_recipe
    from copg.stages.table import TABLE

__version__ = "0.1.0"

PUBLIC = {
    "LOSSES": "losses",
    "REWARDS": "rewards",
    "TABLE": "stages.table",
    "Completion": "records",
    "CopgError": "errors",
    "Group": "records",
    "Recipe": "run.recipe",
    "RewardSpec": "rewards.contract",
    "build_mixture": "rewards.mixture",
    "copg_loss": "losses.copg",
    "load_recipe": "run.recipe",
    "read_groups": "data.group_files",
    "read_manifest": "artifacts",
}
"""Each public name, and where it is."""

__all__ = [
    "LOSSES",
    "REWARDS",
    "TABLE",
    "Completion",
    "CopgError",
    "Group",
    "Recipe",
    "RewardSpec",
    "build_mixture",
    "copg_loss",
    "load_recipe",
    "read_groups",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'copg' has no attribute {name!r}; public are {sorted(PUBLIC)}")
    return getattr(import_module(f"copg.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return [*PUBLIC, "__version__"]
