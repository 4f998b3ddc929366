"""The keys of a recipe, read from the configurations: what each is for, its default, what it may be."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from copg.config import configuration
from copg.errors import members, words_of
from copg.lm.config import TextConfig
from copg.losses import LOSSES
from copg.rewards import REWARDS, load_reward
from copg.rewards.contract import RewardSpec
from copg.run.recipe import Recipe, config_class
from copg.run.shared import ORIGINS
from copg.run.stage_settings import stage_settings
from copg.stages.table import TABLE
from copg.training.config import TrialConfig

RUN_DIR = "RUN_DIR"
"""Stands for the directory of the runs, ``runs/NAME`` unless the command says otherwise."""
BELOW = "see below"
"""The default of a value that has keys of its own, whose defaults follow."""
WRITTEN = (
    "train.trial",
    "train.start_digest",
    "train.pilot",
    "promote.run_id",
    "validate.reader.text_digest",
    "sample.reader.text_digest",
    *(f"evaluate.{name}" for name in ("name", "method", "beta")),
)
"""Settings that a run fills in, beside those that are no news (``derived`` in the table of stages)."""
NAMES: Mapping[str, Sequence[str]] = {"trials.N.method": list(LOSSES), "rewards.N.name": sorted(REWARDS)}
"""Which names there are, of keys whose type is any text."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a recipe."""

    name: str
    """From the recipe on, dots for depth; ``N`` is a place in a list, ``NAME`` one that the user chooses."""
    default: str
    """As YAML, or in words; empty: it has none and must be given."""
    allowed: str
    meaning: str


@configuration
class Whole(Recipe):
    """A recipe whose lists hold what their entries are."""

    trials: list[TrialConfig]  # type: ignore[assignment]
    """One training each."""
    rewards: list[RewardSpec] = field(default_factory=list)  # type: ignore[assignment]
    """What is maximised: the weighted sum of these; empty with a section ``reward``, which learns one."""
    text: TextConfig = field(default_factory=TextConfig)  # type: ignore[assignment]


def keys_of_recipe() -> list[Key]:
    """Those of no stage."""
    apart = ("stages", "placement")
    found = [*_keys(Whole, "", {}, {"rewards.N.digest"})]
    return [key for key in found if key.name.partition(".")[0] not in apart]


def keys_of_stage(stage: str) -> list[Key]:
    """Those of a stage's section, without the ones that a run itself fills in."""
    derived = {f"{row.stage}.{name}" for row in TABLE if row.stage == stage for name in row.derived}
    return [*_keys(config_class(stage), stage, _given(stage), {*derived, *WRITTEN})]


def keys_of_reward(name: str) -> list[Key]:
    """Those of ``params`` of a reward."""
    return [*_keys(load_reward(name), "params", {})]


def keys_of(section: str, cls: type[Any]) -> list[Key]:
    """Those of a section whose configuration belongs to another package."""
    return [*_keys(cls, section, {})]


def _given(stage: str) -> Mapping[str, Any]:
    """What a recipe gives a stage that does not say otherwise."""
    values = {"name": "NAME", "records": "RECORDS", "model": "MODEL", "trials": [{"beta": 1.0}]}
    recipe = Recipe(**values, rewards=[{"name": "length", "params": {"max": 1}}])  # type: ignore[arg-type]
    return stage_settings(recipe, stage, run_dir=Path(RUN_DIR))


def _keys(cls: Any, where: str, given: Mapping[str, Any], hidden: Set[str] = frozenset()) -> Iterator[Key]:
    """The keys of a configuration and of those inside of it; each of these is written out once."""
    yield from _Walk(hidden).keys(cls, where, given)


class _Walk:
    def __init__(self, hidden: Set[str]) -> None:
        self.hidden = hidden
        self.places: dict[Any, str] = {}

    def keys(self, cls: Any, where: str, given: Mapping[str, Any]) -> Iterator[Key]:
        hints, meanings = get_type_hints(cls, include_extras=True), _meanings(cls)
        for each in fields(cls):
            name = f"{where}.{each.name}".lstrip(".")
            if not each.init or each.name.startswith("_") or name in self.hidden:
                continue
            hint = hints[each.name]
            inner, place = _inner(hint)
            meaning = meanings.get(each.name) or (_first_line(inner) if inner else "")
            inside = _inside(each, given)
            same = (inner, repr(inside))
            known = self.places.get(same) if inner and name not in ORIGINS else None
            meaning += f" Keys as in ``{known}``." if known else ""
            yield Key(name, _default(each, name, given, inner), _allowed(name, hint), meaning)
            if inner and known is None and name not in ORIGINS:
                self.places[same] = name
                yield from self.keys(inner, f"{name}{place}", inside)


def _inside(each: "Field[Any]", given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values of a configuration inside of another: by default, and as the recipe gives them."""
    value = None if each.default_factory is MISSING else each.default_factory()
    own = asdict(value) if is_dataclass(value) else {}  # type: ignore[arg-type]
    known = given.get(each.name)
    return {**own, **(known if isinstance(known, Mapping) else {})}


def _first_line(cls: Any) -> str:
    return (cls.__doc__ or "").partition("\n")[0]


def _inner(hint: Any) -> tuple[Any, str]:
    """The configuration inside of a value, and what stands between the two keys."""
    for each in members(get_args(hint)[0] if get_origin(hint) is Annotated else hint):
        if is_dataclass(each):
            return each, ""
        arguments = [one for one in get_args(each) if is_dataclass(one)]
        if arguments:
            return arguments[0], ".NAME" if get_origin(each) is dict else ".N"
    return None, ""


def _allowed(name: str, hint: Any) -> str:
    if name in NAMES:
        return ", ".join(NAMES[name])
    return words_of(hint)


def _default(each: "Field[Any]", name: str, given: Mapping[str, Any], inner: Any) -> str:
    """A default as YAML has it; of a value that the recipe gives, from where."""
    if name in ORIGINS:
        return f"as {ORIGINS[name]}"
    known = given.get(each.name)
    if isinstance(known, Mapping) and inner:
        return BELOW
    if each.name in given:
        return _yaml(known)
    if each.default is not MISSING:
        return _yaml(each.default)
    if each.default_factory is MISSING:
        return ""
    value = each.default_factory()
    if is_dataclass(value):
        return BELOW
    return _yaml([asdict(one) if is_dataclass(one) else one for one in value] if inner and value else value)  # type: ignore[arg-type]


def _yaml(value: Any) -> str:
    """A plain value on one line of YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return repr(value)


@cache
def _meanings(cls: Any) -> dict[str, str]:
    """The text under each field of a dataclass, and of those it inherits from, on one line."""
    found: dict[str, str] = {}
    known = [one for one in cls.__mro__ if "__dataclass_fields__" in vars(one)]
    for each in reversed(known):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for before, node in zip(tree.body, tree.body[1:], strict=False):
            text = node.value if isinstance(node, ast.Expr) else None
            if isinstance(before, ast.AnnAssign) and isinstance(text, ast.Constant):
                assert isinstance(before.target, ast.Name)
                found[before.target.id] = " ".join(str(text.value).split())
    return found
