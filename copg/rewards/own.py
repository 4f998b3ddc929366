"""A user's own reward: ``module:function`` or ``path/file.py:function``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from copg.digests import file_digest, json_digest
from copg.errors import RewardError
from copg.records import Prompt
from copg.rewards.contract import Reward


class OwnReward:
    """A user's function with its settings: called with the batch, then the settings by name."""

    def __init__(self, function: Callable[..., Any], params: Mapping[str, Any]) -> None:
        self.function = function
        self.params = dict(params)
        for name in ("reads", "reads_prompt", "whole_group", "repeatable", "without_effect", "content"):
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[str], columns: Sequence[Mapping[str, Any]]
    ) -> Sequence[float]:
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
    try:
        if isinstance(found, type):
            return OwnReward(found(**params), {})
        inspect.signature(found).bind((), (), (), **params)
    except TypeError as error:
        raise RewardError(
            f"reward '{name}' must take (prompts, completions, columns) and params {sorted(params)}: {error}"
        ) from None
    return OwnReward(found, params)


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
    except Exception as error:
        raise RewardError(f"reward '{name}': importing '{location}' failed: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An error of somebody else's code in one line: type, message and where it was raised."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{where}"
