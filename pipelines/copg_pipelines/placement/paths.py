"""The paths of a recipe as pods see them; one that no pod can see is refused before there is a pod."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg.run.recipe_paths import PATHS
from copg.run.shared import value_at
from copg.run.sources import looks_like_path
from copg.run.trained_reward import all_rewards
from copg_pipelines.placement.config import PlacementConfig

OF_REWARDS = ("model", "tokenizer", "key_file", "cache")
"""Settings of rewards that hold a path, or may hold one."""
SURE = ("run_dir", "tracking", "store", "folder", "champions", "cache", "key_file")
"""Settings that hold nothing else, unless it is a URL."""
OF_FILES = ("sqlite:///", "file://")
"""Beginnings of a URL after which a path comes."""


def placed(recipe: Recipe, config: PlacementConfig) -> Recipe:
    """The recipe with paths, stores and tracking as the pods see them.

    Raises:
        ConfigError: a path is relative, which no pod can follow.
    """
    stages = {stage: dict(settings) for stage, settings in recipe.stages.items()}
    stores = config.stores
    for stage, name, store in (
        ("sample", "store", stores.completions if recipe.samples else ""),
        ("score", "store", stores.rewards),
        ("reference", "store", stores.references),
        ("promote", "champions", stores.champions),
    ):
        if store:
            stages[stage] = {name: store, **stages.get(stage, {})}
    if stores.checkpoints:
        train = stages.setdefault("train", {})
        train["checkpoint"] = {"folder": stores.checkpoints, **(train.get("checkpoint") or {})}
    if not recipe.trains_reward:
        stages.pop("reward", None)  # no task of the DAG reads it
    values = {"records": recipe.records, "model": recipe.model, "rewards": recipe.rewards, "stages": stages}
    there = {key: _moved(value, config.paths, key) for key, value in values.items()}
    return replace(recipe, tracking=recipe.tracking or stores.tracking, **there)


def check_paths(recipe: Recipe, config: PlacementConfig, run_dir: str) -> None:
    """Refuse paths that lie on no volume.

    Args:
        recipe: with paths as the pods see them.
        config: its placement; what ``paths`` leads to counts as seen: a folder of the image, for one.
        run_dir: stable directory of the runs.

    Raises:
        ConfigError: a path is relative, or lies where no pod sees anything of it.
    """
    seen = list(dict.fromkeys([*(volume.path for volume in config.volumes), *config.paths.values()]))
    secrets = [secret.folder for secret in config.secrets if secret.folder]
    for key, text in (("run_dir", run_dir), *_named(recipe)):
        url = next((start for start in OF_FILES if text.startswith(start)), "")
        path = text.removeprefix(url)
        sure = url or key.rpartition(".")[2] in SURE or path.endswith(".py")
        if "://" in path or not (sure or looks_like_path(path)):
            continue  # an address of something else, or a name of the hub
        if not path.startswith("/"):
            raise _relative(key, text)
        if not any(PurePosixPath(normpath(path)).is_relative_to(folder) for folder in (*seen, *secrets)):
            raise ConfigError(
                f"{key}={text!r} lies on no volume of the placement ({', '.join(seen) or 'it has none'}), so "
                "that no pod sees it; if it is in the image, say so: placement.paths: {/models: /models}"
            )


def _moved(value: Any, paths: Mapping[str, str], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _moved(item, paths, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, paths, key) for item in value]
    if not isinstance(value, str):
        return value
    for start, there in paths.items():
        if value == start or value.startswith(f"{start.rstrip('/')}/"):
            return there + value.removeprefix(start.rstrip("/"))
    if value.startswith(("./", "../")):
        raise _relative(key, value)
    return value


def _relative(key: str, value: str) -> ConfigError:
    return ConfigError(
        f"{key}={value!r} is relative, and a pod has no such folder: give an absolute path or a URL, or "
        "say under placement.paths where it lies, such as {../../runs: /runs}"
    )


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Key and value of every setting that may hold a path."""
    if recipe.tracking:
        yield "tracking", recipe.tracking
    for key in sorted(PATHS):
        value = value_at(recipe.by_key, key)
        if isinstance(value, str):
            yield key, value
    for reward in (*recipe.rewards, *all_rewards(recipe.stages)):
        location, _, function = str(reward.get("name", "")).rpartition(":")
        if location.endswith(".py"):
            yield "rewards", location
        params = reward.get("params")
        for name in OF_REWARDS:
            if isinstance(params, Mapping) and isinstance(params.get(name), str):
                yield f"rewards.{reward.get('label') or function}.{name}", params[name]
