"""The reward model that a run trains for itself: what rewards that name no model stand for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

STAGE, REWARD = "reward", "reward_model"
FOLDER = "reward_models"


def means_trained(reward: Any) -> bool:
    """Whether an entry of ``rewards`` is a reward model without a model: the one that the run trains."""
    if not isinstance(reward, Mapping) or reward.get("name") != REWARD:
        return False
    return not (reward.get("params") or {}).get("model")


def trains_reward(rewards: Sequence[Any], stages: Mapping[str, Any]) -> bool:
    """Whether a recipe asks for a reward model of its own.

    Args:
        rewards: of the recipe.
        stages: settings by stage, some of which may have rewards of their own.

    Raises:
        ValueError: a reward needs it, and there is no section ``reward`` to train it by.
    """
    wanted = any(means_trained(reward) for reward in (*rewards, *all_rewards(stages)))
    if wanted and STAGE not in stages:
        raise ValueError(
            f"rewards: '{REWARD}' names no model: set params.model, or add a section '{STAGE}' and the "
            "pipeline trains one on the preferences (reward: {} takes the defaults)"
        )
    return wanted


def all_rewards(value: Any) -> Iterator[Any]:
    """Entries of every list ``rewards``, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from item if key == "rewards" and isinstance(item, list) else all_rewards(item)


def model_folder(run_dir: Path, key: str) -> Path:
    """Where the reward model of a run lies.

    Args:
        run_dir: stable directory of the runs.
        key: digest of all that its training depends on.
    """
    return run_dir / FOLDER / key[:20]


def with_model(settings: Any, model: Path) -> Any:
    """The same settings, in which every such reward names ``model``."""
    if not isinstance(settings, Mapping):
        return settings
    return {
        key: [_named(reward, model) for reward in item]
        if key == "rewards" and isinstance(item, list)
        else with_model(item, model)
        for key, item in settings.items()
    }


def _named(reward: Any, model: Path) -> Any:
    if not means_trained(reward):
        return reward
    return {**reward, "params": {**(reward.get("params") or {}), "model": str(model)}}
