"""Rewards of whole completions: one file each, named in a recipe, mixed by weight."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copg.rewards.contract import Condition, RecordFault, Reward, RewardSpec, Scale, Scores
    from copg.rewards.mixture import Mixture, build_mixture
    from copg.rewards.registry import REWARDS, build_reward, digest_of_rewards, reward_digest

__all__ = [
    "REWARDS",
    "Condition",
    "Mixture",
    "RecordFault",
    "Reward",
    "RewardSpec",
    "Scale",
    "Scores",
    "build_mixture",
    "build_reward",
    "digest_of_rewards",
    "reward_digest",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("contract", "mixture", "registry"):
            found = vars(importlib.import_module(f"copg.rewards.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(name)
