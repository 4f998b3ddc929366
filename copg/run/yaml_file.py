"""YAML as people mean it: a key given twice is an error, ``1e-6`` is a number, a mistake has its line."""

import json
import re
from collections.abc import Hashable
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from copg.errors import ConfigError

MOST_VALUES = 100_000
"""In one file; aliases within aliases can stand for any number."""
MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file; a key given twice is an error, ``1e-6`` is a number.

    Raises:
        ConfigError: with file and line.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{path}:{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # of a date that there is not
        raise ConfigError(f"{path}: {str(error).partition(chr(10))[0]}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    if values is None:
        raise ConfigError(
            f"{path}: is empty, or nothing but comments; copg init writes a recipe to begin with"
        )
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {type(values).__name__}, not keys and values")
    _check_plain(values, str(path))
    return values


def _check_plain(values: Any, where: str, key: str = "") -> None:
    """Refuse what cannot be written down as JSON, in all that is inside.

    Raises:
        ConfigError: something refers to itself, is no plain value, or there is too much of it.
    """
    count = 0
    waiting: list[tuple[Any, str, tuple[int, ...]]] = [(values, key, ())]
    while waiting:
        value, key, above = waiting.pop()
        count += 1
        if id(value) in above:
            raise ConfigError(f"{where}: {key} refers to itself")
        if count > MOST_VALUES:
            raise ConfigError(f"{where}: holds more than {MOST_VALUES:,} values")
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for name, item in items:
                if isinstance(value, dict) and not isinstance(name, str):
                    raise ConfigError(f"{where}: key {name!r} under {key or 'the top'} is no text: quote it")
                waiting.append((item, f"{key}.{name}".lstrip("."), (*above, id(value))))
        elif not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: {key}={value} is a {type(value).__name__}; quote it if it is a text")
        elif isinstance(value, float) and not isfinite(value):
            raise ConfigError(f"{where}: {key}={value} must be a finite number")


def set_value(values: dict[str, Any], override: str) -> None:
    """Put one ``key=value`` into nested dictionaries; a number as key counts in a list, from 0.

    Raises:
        ConfigError: there is no ``=``, or the key leads through something that has no keys.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: must be key=value, such as train.epochs=3")
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        value = text
    _check_plain(value, "--set", key)
    *parents, last = key.split(".")
    here: Any = values
    for part in parents:
        if isinstance(here, dict):
            here[part] = {} if here.get(part) is None else here[part]
            here = here[part]
        elif _is_place(part, here):
            here = here[int(part)]
        else:
            raise ConfigError(f"--set {override!r}: {part!r} leads nowhere")
    if _is_place(last, here):
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(f"--set {override!r}: {last!r} leads nowhere")


def as_yaml(text: str) -> str:
    """A text as a value on one line, quoted where it would be read as a number, a comment or the like."""
    try:
        plain = yaml.load(f"key: {text}", Loader=_Loader) == {"key": text}
    except (yaml.YAMLError, ValueError):
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)


def _is_place(part: str, here: Any) -> bool:
    """Whether a part of a key counts to an item of a list; digits that are not decimal, as ``²``, do not."""
    return isinstance(here, list) and len(part) < 10 and part.isdecimal() and int(part) < len(here)


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, and a tag that its value is none of."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (LookupError, AttributeError, TypeError):  # as of !!int without a number, !!bool, !!timestamp
            problem = f"{str(node.value)[:40]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                problem = "'<<' is not taken: write out the keys that it stands for"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                problem = "a key must be a plain text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)
