"""The reward model that a run trains for itself: what rewards that name no model stand for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from copg.rewards.ensemble import member_folder

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
            "pipeline trains one on the preferences or thumbs (reward: {} takes the defaults)"
        )
    return wanted


def all_rewards(value: Any) -> Iterator[Any]:
    """Entries of every list ``rewards``, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from item if key == "rewards" and isinstance(item, list) else all_rewards(item)


def as_ensembles(settings: Any, members: Any) -> Any:
    """The same settings, in which a reward model that is to be trained is ``members`` of them, one ensemble.

    Args:
        settings: a recipe's, at any depth.
        members: as the recipe has it; what is no number above 1 changes nothing.
    """
    if not isinstance(settings, Mapping) or type(members) is not int or members < 2:
        return settings
    return {
        key: [one for each in item for one in _members(each, members)]
        if key == "rewards" and isinstance(item, list)
        else as_ensembles(item, members)
        for key, item in settings.items()
    }


def _members(reward: Any, members: int) -> list[Any]:
    ensemble = (reward.get("ensemble") or {}) if means_trained(reward) else None
    if not isinstance(ensemble, Mapping) or "member" in ensemble:
        return [reward]
    label = str(reward.get("label") or REWARD)
    shared = {"standardise": True, **reward}
    return [
        {**shared, "label": f"{label}_{member}", "ensemble": {"name": label, **ensemble, "member": member}}
        for member in range(members)
    ]


def model_folder(run_dir: Path, key: str) -> Path:
    """Where the reward model of a run lies.

    Args:
        run_dir: stable directory of the runs.
        key: digest of all that its training depends on.
    """
    return run_dir / FOLDER / key[:20]


def with_model(settings: Any, model: Path) -> Any:
    """The same settings, in which every such reward names ``model``, or the member of it that it means."""
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
    folder = member_folder(model, (reward.get("ensemble") or {}).get("member", 0))
    return {**reward, "params": {**(reward.get("params") or {}), "model": str(folder)}}
