"""Folders that a recipe names, looked at before a run: of its models, and that of its runs."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from copg.errors import CopgError
from copg.lm.weights import check_files
from copg.run.recipe import Recipe
from copg.run.shared import value_at
from copg.run.sources import looks_like_path
from copg.run.spelling import MODELS, is_address
from copg.stores.model_files import ADAPTER, adapter_base

KEPT = ("sample.store", "score.store", "reference.store", "train.checkpoint.folder", "promote.champions")
"""Settings that may name a folder in which a stage keeps what it made."""
RECORDS = "records"
CHOICES = {
    "model": ("revision",),
    "train.start_from": ("train.start_revision",),
    "reward.model": ("reward.revision",),
    "sample.model": ("sample.revision",),
    RECORDS: ("validate.revision", "validate.subset"),
}
"""Settings that choose among what the hub has, by the name that they belong to."""
READER = "validate.reader.model"
"""Which need not have weights."""


def of_files(key: str, name: str) -> Iterator[str]:
    """What the files of a model tell whatever the settings are."""
    folder = Path(name)
    try:
        if folder.is_dir():
            check_files(folder)
        elif looks_like_path(name):
            yield f"{key}={name!r}: no such directory"
    except CopgError as error:
        yield f"{key}: {error}"
    except OSError as error:  # a name that no path may have
        yield f"{key}={name!r:.300}: {error.strerror}"


def of_others(recipe: Recipe) -> Iterator[str]:
    """Models beside the recipe's own, which sections name."""
    for key in MODELS[1:]:
        name = value_at(recipe.stages, key)
        if not isinstance(name, str) or is_address(name):  # told with the settings
            continue
        if key != READER:
            yield from of_files(key, name)
        elif looks_like_path(name) and not Path(name).is_dir():
            yield f"{key}={name!r}: no such directory"


def of_other_base(recipe: Recipe) -> Iterator[str]:
    """An adapter from which training starts and that lies on another model than the recipe's.

    Raises:
        ModelError: the adapter names none.
    """
    start = value_at(recipe.stages, "train.start_from")
    if not isinstance(start, str) or not (Path(start) / ADAPTER).is_file():
        return
    base, model = adapter_base(Path(start)), recipe.model
    if base != model and (not Path(base).is_dir() or Path(base).resolve() != Path(model).resolve()):
        yield (
            f"train.start_from={start!r:.300} is an adapter on {base!r:.300}, and model={model!r:.300}: "
            "right where both are the same weights; else training starts at another model than the reference"
        )


def of_stores(recipe: Recipe) -> Iterator[str]:
    """Folders that sections name, and in which nothing could be kept."""
    for key in KEPT:
        name = value_at(recipe.stages, key)
        if isinstance(name, str) and name and not is_address(name) and (why := no_folder_there(Path(name))):
            yield f"{key}={name!r}: {why}"


def of_no_effect(recipe: Recipe) -> Iterator[str]:
    """Settings that choose among what lies on the hub, beside files and folders of this machine."""
    values = recipe.by_key
    for name, keys in CHOICES.items():
        place = value_at(values, name)
        if not isinstance(place, str) or not place or not (looks_like_path(place) or Path(place).exists()):
            continue
        for key in keys:
            if (given := value_at(values, key)) is not None:
                yield f"{key}={given!r:.200} has no effect: {name}={place!r:.200} is of this machine"


def of_root(run_dir: Path) -> Iterator[str]:
    """Why no run could write there."""
    if why := no_folder_there(run_dir):
        yield f"run_dir={run_dir}: {why}"


def no_folder_there(folder: Path) -> str:
    """Why a folder could neither be made nor written; empty where nothing speaks against it."""
    with suppress(OSError):  # too long a path, or one that may not be read: whoever makes it says so
        above = next(each for each in (folder, *folder.parents) if each.exists())
        if not above.is_dir():
            return f"{above} is a file; a folder is needed there"
        if not os.access(above, os.W_OK | os.X_OK):
            return f"{above} cannot be written; choose a folder that can"
    return ""
