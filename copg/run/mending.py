"""A recipe with stand-ins for what is wrong with it, so that the rest of it can be looked at all the same."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from copg.errors import ConfigError
from copg.run.recipe import Recipe, make_recipe, parse_recipe, settle_recipe
from copg.run.spelling import misspelt
from copg.run.trained_reward import STAGE as REWARD

STAND_INS: Mapping[str, Any] = {
    "name": "recipe",
    "records": "owner/records",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"max": 1}}],
    "trials": [{"method": "copg", "beta": 1.0}],
}
"""Of the keys that a recipe must have, and rewards, which go with sections."""
SECTIONS, REWARDS = "stages", "rewards"


def mended(values: Mapping[str, Any]) -> tuple[Recipe, frozenset[str], str]:
    """A recipe that can be made, whatever is wrong with the keys of this one.

    Args:
        values: as they stand in a file, a key for each stage.

    Returns:
        The recipe; which of its keys say nothing that could be looked at; and what is wrong, in one line, ""
        where nothing is.
    """
    try:
        return parse_recipe(values), frozenset(), ""
    except ConfigError as error:
        told = str(error)
    flat, _ = settle_recipe(values)
    asked: dict[str, Any] = {REWARD: {}}  # by rewards in other sections
    given = flat.pop(SECTIONS).items()
    sections = {name: item for name, item in given if not _wrong({SECTIONS: {**asked, name: item}})}
    known = {each.name for each in fields(Recipe)}
    right = {}
    for key, item in flat.items():
        beside = {SECTIONS: sections} if key == REWARDS else {}  # one of which they may ask for
        wrong = _wrong({**beside, key: item}) if key in known else told
        if not wrong:
            right[key] = item
        elif wrong not in told:
            told = f"{told}; {wrong}"
    needed = {key: item for key, item in STAND_INS.items() if key in flat or key != REWARDS}
    gone = {*needed, *flat} - right.keys()
    gone |= {key for key in right if [*misspelt(right[key], key)]}
    whole = {**needed, **right, SECTIONS: sections}
    if _wrong(whole):  # a section asks for more than stands in
        whole, gone = {**whole, SECTIONS: {}, REWARDS: STAND_INS[REWARDS]}, gone | {SECTIONS, REWARDS}
    return make_recipe(whole), frozenset(gone), told


def _wrong(some: Mapping[str, Any]) -> str:
    """What is wrong with some keys, whatever the others are; empty where nothing is."""
    try:
        make_recipe({**STAND_INS, **some})
    except ConfigError as error:
        return str(error)
    return ""
