"""Rewards of whole completions: one file each, named in a recipe, mixed by weight."""

from copg.rewards.contract import RecordFault, Reward, RewardSpec, Scores
from copg.rewards.mixture import Mixture, build_mixture
from copg.rewards.registry import REWARDS, build_reward, digest_of_rewards, reward_digest

__all__ = [
    "REWARDS",
    "Mixture",
    "RecordFault",
    "Reward",
    "RewardSpec",
    "Scores",
    "build_mixture",
    "build_reward",
    "digest_of_rewards",
    "reward_digest",
]
