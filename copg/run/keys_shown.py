"""The keys of a recipe as lines for a terminal, and as ``docs/recipe.md``."""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from copg.errors import ConfigError, nearest
from copg.rewards import REWARDS
from copg.run.keys import Key, keys_of, keys_of_recipe, keys_of_reward, keys_of_stage
from copg.stages.table import EVERY, ROWS

Sections = Mapping[str, Callable[[Mapping[str, Any]], Any]]
"""Sections of a recipe that other packages read: each its name, and what makes a configuration of it."""
WIDTH = 100
RECIPE, REWARDS_KEY = "recipe", "rewards"
OPENING = """# The keys of a recipe

A recipe is one YAML file: what to align, on which records, for which rewards, in which trials, and a section
for each stage whose settings are not the defaults. This page is made from the configurations themselves
(`copg settings --page` prints it). `copg settings train` shows one section on the terminal, `copg init`
writes a recipe to begin with, and `copg check` says what is wrong with one, without a GPU and in seconds.

`N` stands for a place in a list, `NAME` for a name of your choice, `RUN_DIR` for the directory of the runs
(`runs/NAME` unless `--run-dir` names another). A default `as KEY` is what that key of the recipe says. Any
key can be set for one run: `--set train.epochs=2`.
"""
OF_REWARDS = """## Rewards

What `params` of each reward holds; [rewards.md](rewards.md) says what each is good for.
"""


def section_names(sections: Sections) -> list[str]:
    """Every section that can be asked for."""
    return [RECIPE, *EVERY, *sections, *(f"rewards.{name}" for name in REWARDS)]


def keys_in(section: str, sections: Sections) -> list[Key]:
    """The keys of a section: ``recipe`` for those of no stage, ``rewards.rouge`` for a reward's settings,
    ``train.optimizer`` for one key with all that is inside of it.

    Raises:
        ConfigError: there is no such section, or no such key in it.
    """
    if section == RECIPE:
        return keys_of_recipe()
    if section in EVERY:
        return keys_of_stage(section)
    if section in sections:
        return keys_of(section, get_type_hints(sections[section])["return"])
    first, _, rest = section.partition(".")
    if first == REWARDS_KEY and rest in REWARDS:
        return keys_of_reward(rest)
    own = first in EVERY or first in sections
    known = keys_in(first, sections) if own else keys_of_recipe()
    wanted = re.sub(r"\.\d+(?=\.|$)", ".N", section.removeprefix(f"{RECIPE}."))
    if found := [key for key in known if f"{key.name}.".startswith(f"{wanted}.")]:
        return found
    above = wanted.rpartition(".")[0]
    beside = [key.name for key in known if above and key.name.rpartition(".")[0] == above]
    names = section_names(sections)
    every = [key.name for name in (RECIPE, *EVERY, *sections) for key in keys_in(name, sections)]
    told = f"section={section!r} is unknown; use one of {beside or names}"
    raise ConfigError(f"{told}{nearest(wanted, [*names, *every] if '.' in wanted else names)}")


def show_keys(keys: Sequence[Key]) -> Iterator[str]:
    """Lines for a terminal: a key with its default, under it what it may be and what it is for."""
    for key in keys:
        yield f"{key.name}: {key.default}".rstrip() if key.default else f"{key.name}  (must be given)"
        for text in (key.allowed, _plain(key.meaning)):
            yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def render_page(sections: Sections) -> str:
    """``docs/recipe.md``."""
    parts = [OPENING, _table("The recipe itself", "", keys_of_recipe())]
    parts += [_table(f"`{stage}`", f"{ROWS[stage].title}.", keys_of_stage(stage)) for stage in EVERY]
    parts += [_table(f"`{name}`", _about(parse), keys_in(name, sections)) for name, parse in sections.items()]
    parts.append(OF_REWARDS)
    for name, place in REWARDS.items():
        module, _, attribute = place.partition(":")
        about = (getattr(import_module(module), attribute).__doc__ or "").partition("\n")[0]
        parts.append(_table(f"`{name}`", about, keys_of_reward(name), depth=3))
    return "\n".join(parts)


def _about(parse: Callable[..., Any]) -> str:
    return (get_type_hints(parse)["return"].__doc__ or "").partition("\n")[0]


def _table(title: str, about: str, keys: Sequence[Key], depth: int = 2) -> str:
    lines = [f"{'#' * depth} {title}", "", *([_ticked(about), ""] if about else [])]
    lines += ["| key | default | allowed | what it is for |", "| --- | --- | --- | --- |"]
    for key in keys:
        default = f"`{key.default}`" if key.default and key.default[:3] not in ("as ", "see") else key.default
        default = f"as `{key.default[3:]}`" if default[:3] == "as " else default
        cells = (f"`{key.name}`", default or "must be given", key.allowed, _ticked(key.meaning))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _ticked(text: str) -> str:
    """Markdown of a docstring: YAML's words, one tick for two."""
    return re.sub(r"\bNone\b(?!`)", "null", text).replace("``", "`")


def _plain(text: str) -> str:
    return re.sub(r"\bNone\b(?!`)", "null", text).replace("``", "")
