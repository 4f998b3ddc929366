"""A user's own reward: ``module:function`` or ``path/file.py:function``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from copg.digests import code_closure, file_digest, find_source, json_digest
from copg.errors import RewardError
from copg.rewards.contract import Columns, Prompts, Reward

ANYTHING = (Exception, SystemExit)
"""What code of others may raise: an exit would end a stage without a word, even as if it had ended well."""


class OwnReward:
    """A user's function with its settings: called with the batch, then the settings by name."""

    def __init__(self, function: Callable[..., Any], params: Mapping[str, Any]) -> None:
        self.function = function
        self.params = dict(params)
        for name in (
            "reads",
            "may_read",
            "reads_prompt",
            "whole_group",
            "repeatable",
            "without_effect",
            "content",
            "bounds",
        ):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> Sequence[float]:
        """[N] whatever the function gives; the mixture checks it."""
        values: Sequence[float] = self.function(prompts, completions, columns, **self.params)
        return values


def load_own(name: str, params: Mapping[str, Any]) -> Reward:
    """The reward a user wrote: a function, or a class whose settings are its arguments.

    Raises:
        RewardError: the module cannot be imported, has no such function, or takes no such arguments.
    """
    location, _, attribute = name.rpartition(":")
    module = _import(name, location)
    found = getattr(module, attribute, None)
    if not callable(found):
        listed = sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_")
        raise RewardError(f"reward '{name}': '{location}' has no function '{attribute}', it has {listed}")
    batch = () if isinstance(found, type) else ((), (), ())
    try:
        inspect.signature(found).bind(*batch, **params)
    except (TypeError, ValueError) as error:
        raise RewardError(
            f"reward '{name}' must take (prompts, completions, columns) and params {sorted(params)}: {error}"
        ) from None
    if not isinstance(found, type):
        return OwnReward(found, params)
    try:
        return OwnReward(found(**params), {})
    except ANYTHING as error:
        raise RewardError(f"reward '{name}' cannot be made of its params: {describe(error)}") from error


def code_of_own(name: str) -> str:
    """Of a user's module and of what it imports from its own package or from the folder it lies in.

    A ``path/file.py:function`` is one file and counts alone.

    Raises:
        RewardError: when there is no source to read.
    """
    location = name.rpartition(":")[0]
    if location.endswith(".py"):
        if not Path(location).is_file():
            raise RewardError(f"reward '{name}': {location} is no file")
        return file_digest(Path(location))
    found = code_closure(location, lambda module: _is_users(module, location), by_bytes=True)
    if not found:
        raise RewardError(f"reward '{name}': no source of module '{location}' is found")
    return json_digest(found)


def _is_users(module: str, location: str) -> bool:
    """Whether a module belongs to the user's: same package, or beside it outside of installed packages."""
    top, own = module.partition(".")[0], location.partition(".")[0]
    if top == own:
        return True
    folder, own_folder = _folder(top), _folder(own)
    return (
        folder is not None and folder == own_folder and folder.name not in ("site-packages", "dist-packages")
    )


def _folder(top: str) -> Path | None:
    path = find_source(top)
    if path is None:
        return None
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _import(name: str, location: str) -> ModuleType:
    try:
        if not location.endswith(".py"):
            return importlib.import_module(location)
        path = Path(location)
        if not path.is_file():
            raise RewardError(f"reward '{name}': {path} is no file")
        # by content too, so that an edited file is another module
        unique = f"copg_own_reward_{file_digest(path)[:16]}_{json_digest(str(path.resolve()))[:16]}"
        if unique in sys.modules:
            return sys.modules[unique]
        spec = importlib.util.spec_from_file_location(unique, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[unique] = module
        return module
    except RewardError:
        raise
    except ModuleNotFoundError as error:
        raise RewardError(
            f"reward '{name}': {error}; put its folder on PYTHONPATH, or write path/file.py:function"
        ) from None
    except ANYTHING as error:
        raise RewardError(f"reward '{name}': importing '{location}' failed: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An error of somebody else's code in one line: type, message and where it was raised."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{where}"
