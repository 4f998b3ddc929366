"""The rewards there are, and what a run's rewards depend on."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from copg.config import parse_config
from copg.digests import code_digest, json_digest
from copg.errors import RewardError
from copg.rewards.contract import Reward, RewardSpec
from copg.rewards.own import load_own
from copg.rewards.source import own_code_digest

CLASSES = {
    "answer": "Answer",
    "bleu": "Bleu",
    "chrf": "Chrf",
    "entailment": "Entailment",
    "format": "Format",
    "judge": "Judge",
    "length": "Length",
    "reference_overlap": "ReferenceOverlap",
    "reward_model": "RewardModel",
    "rouge": "Rouge",
    "rouge_l": "RougeL",
    "similarity": "Similarity",
}
"""Name of a reward, which is also its file's, and the class there: its fields are the settings."""


class RewardMap(Mapping[str, Callable[..., Reward]]):
    """Name to class; a reward's file is imported when it is asked for, so the others cost nothing."""

    def __getitem__(self, name: str) -> Callable[..., Reward]:
        reward: Callable[..., Reward] = getattr(
            importlib.import_module(f"copg.rewards.{name}"), CLASSES[name]
        )
        return reward

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)


REWARDS: Mapping[str, Callable[..., Reward]] = RewardMap()


def build_reward(spec: RewardSpec) -> Reward:
    """The reward a spec names; models and servers it needs are opened when it is first called.

    Raises:
        RewardError: unknown name, or a user's function that cannot be loaded.
        ConfigError: a setting is unknown or out of its range.
    """
    if ":" in spec.name:
        return load_own(spec.name, spec.params)
    if spec.name not in CLASSES:
        raise RewardError(
            f"reward={spec.name!r} is unknown; use one of {sorted(CLASSES)} or your own module:function"
        )
    cls: Any = REWARDS[spec.name]
    reward: Reward = parse_config(cls, spec.params, where=f"rewards.{spec.part}.params")
    return reward


def reward_digest(spec: RewardSpec) -> str:
    """What the values of one reward depend on, besides the records: settings, source code, files read.

    The weight does not count: it changes the sum, never a part.
    """
    if ":" in spec.name:
        load_own(spec.name, spec.params)
        return json_digest({"params": spec.params, "code": own_code_digest(spec.name), "name": spec.name})
    reward: Any = build_reward(spec)
    ignored = getattr(reward, "without_effect", ())
    params = {key: value for key, value in asdict(reward).items() if key not in ignored}
    code = code_digest(f"copg.rewards.{spec.name}")
    content = reward.content() if hasattr(reward, "content") else {}
    return json_digest({"name": spec.name, "params": params, "code": code, "content": content})


def digest_of_rewards(specs: Sequence[RewardSpec]) -> str:
    """What the rewards of a run depend on: each reward's own digest, weights and labels, in any order."""
    return json_digest(sorted([spec.part, spec.weight, reward_digest(spec)] for spec in specs))
