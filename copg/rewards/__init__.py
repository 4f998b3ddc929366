"""Rewards of whole completions: a reward is one file here and one line of ``REWARDS``, mixed by weight.

Nothing is loaded before a reward is asked for by name, and then its own file alone.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copg.rewards.contract import Reward

REWARDS = {
    "answer": "copg.rewards.answer:Answer",
    "bleu": "copg.rewards.bleu:Bleu",
    "chrf": "copg.rewards.chrf:Chrf",
    "entailment": "copg.rewards.entailment:Entailment",
    "format": "copg.rewards.format:Format",
    "judge": "copg.rewards.judge:Judge",
    "length": "copg.rewards.length:Length",
    "reference_overlap": "copg.rewards.reference_overlap:ReferenceOverlap",
    "reward_model": "copg.rewards.reward_model:RewardModel",
    "rouge": "copg.rewards.rouge:Rouge",
    "rouge_l": "copg.rewards.rouge:RougeL",
    "similarity": "copg.rewards.similarity:Similarity",
    "unit_tests": "copg.rewards.unit_tests:UnitTests",
}
"""Module and class of each reward, by name: the fields of the class are its settings."""


def load_reward(name: str) -> "Callable[..., Reward]":
    """The class of a reward.

    Raises:
        KeyError: there is no such reward.
    """
    module, _, attribute = REWARDS[name].partition(":")
    reward: Callable[..., Reward] = getattr(import_module(module), attribute)
    return reward
