"""Paths in a recipe that runs on this machine: relative ones start from the recipe's own folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from copg.errors import ConfigError
from copg.run.sources import looks_like_path
from copg.run.spelling import address_meant
from copg.stages.table import TABLE

PATHS = {"records", "model", "rewards", *(f"{row.stage}.{path}" for row in TABLE for path in row.paths)}
"""Keys that hold a path, or may hold one."""


def make_absolute(values: dict[str, Any], keys: Iterable[str], folder: Path) -> None:
    """Make those of ``PATHS`` that ``keys`` name absolute; names of the hub stay names.

    Raises:
        ConfigError: a path leads in a circle, or into the home of a user who has none.
    """
    for key in PATHS & set(keys):
        *parents, last = key.split(".")
        section: Any = values
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        value = section.get(last) if isinstance(section, dict) else None
        try:
            if isinstance(value, list):
                section[last] = [_absolute_reward(reward, folder) for reward in value]
            elif isinstance(value, str):
                section[last] = _absolute(value, folder, surely=last in ("store", "folder", "champions"))
        except RuntimeError as error:  # links in a circle, or the home of a user who has none
            raise ConfigError(f"{key}={value!r:.300} is no path: {error}") from None


def _absolute(value: str, folder: Path, *, surely: bool) -> str:
    if (
        "://" in value
        or address_meant(value)
        or not (surely or looks_like_path(value) or (folder / value).exists())
    ):
        return value
    return str((folder / Path(value).expanduser()).resolve())


def _absolute_reward(value: Any, folder: Path) -> Any:
    """A reward's own file, and of its settings those that start with ``./`` or ``../``."""
    if isinstance(value, dict):
        return {key: _absolute_reward(item, folder) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    location, _, function = value.rpartition(":")
    if location.endswith(".py"):
        return f"{_absolute(location, folder, surely=True)}:{function}"
    return _absolute(value, folder, surely=True) if value.startswith(("./", "../")) else value
