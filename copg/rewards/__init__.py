"""Rewards of whole completions: one file each, named in a recipe, mixed by weight."""

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
