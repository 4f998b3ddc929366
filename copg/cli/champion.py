"""The command ``copg champion``: which policy serves, those before it, and the way back to one of them."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copg.cli.command import Command, Refusal, refuses
from copg.cli.options import OptionalRecipe, RunDir, runs_here
from copg.errors import ConfigError

if TYPE_CHECKING:
    from copg.tracking.registry import RegisteredVersion, Registry

STORES = "copg.stores"
"""Entry points: functions that tell fsspec of the stores in which tasks leave policies."""

champion_app = typer.Typer(
    name="champion",
    help="Which policy serves, those before it, and the way back.\n\n"
    "  copg champion show --recipe demo.yaml\n\n"
    "  copg champion show --name demo --tracking http://localhost:5000\n\n"
    "  copg champion rollback 3 --recipe demo.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Option("--name", help="Of the registered model; default: the recipe's.")]
Tracking = Annotated[
    str,
    typer.Option("--tracking", help="MLflow server, or sqlite:///FILE; default: the recipe's."),
]


UNUSED = (
    Refusal(
        ("run_dir",), lambda given: given["tracking"], "with --tracking, which says where the registry is"
    ),
    Refusal(("run_dir",), lambda given: not given["recipe"], "without --recipe"),
)


@champion_app.command("show", cls=Command)
@refuses(*UNUSED)
def show(
    recipe: OptionalRecipe = None,
    name: Name = "",
    tracking: Tracking = "",
    run_dir: RunDir = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print who is champion, and who was before.

    Of each: address and digest of the policy, its trial, reward and KL, since when, and from which run.

    copg champion show --recipe demo.yaml
    """
    registry = _open(recipe, name, tracking, run_dir)
    champions = registry.champions()
    if as_json:
        print(json.dumps([_facts(version) for version in champions], indent=2))
        return
    if doubt := registry.find_doubt():
        print(f"warning: {doubt}", file=sys.stderr)
    for number, version in enumerate(champions):
        title = f"{registry.model_name}: version {version.version}"
        print(f"{title}, champion" if number == 0 else f"{title}, before")
        for key, value in _facts(version).items():
            print(f"  {key:<8} {value}")


@champion_app.command("rollback", cls=Command)
@refuses(*UNUSED)
def rollback(
    version: Annotated[str, typer.Argument(help="Of one that was champion before, as show prints it.")],
    recipe: OptionalRecipe = None,
    name: Name = "",
    tracking: Tracking = "",
    run_dir: RunDir = "",
) -> None:
    """Make an earlier version champion again.

    Refused unless its weights lie where they should, unchanged, as seen from here: the address of a volume of
    a cluster is one in a pod that has the volume, and one in an object store takes its keys. The next run is
    measured against it like any other champion, and may promote what was rolled back once more.

    copg champion rollback 3 --recipe demo.yaml
    """
    from copg.stores.addresses import find_damage

    registry = _open(recipe, name, tracking, run_dir)
    now, *before = registry.champions()
    model, earlier = registry.model_name, {each.version: each for each in (now, *before)}
    if version == now.version and not registry.find_doubt():
        raise ConfigError(f"version {version} of {model!r} is champion already")
    if version not in earlier:
        known = f"use one of {[v.version for v in before]}" if before else f"only {now.version} was"
        raise ConfigError(f"version {version} of {model!r} never was champion; {known}")
    for each in entry_points(group=STORES):
        each.load()()
    address = earlier[version].policy_uri
    if damage := find_damage(address, digest=earlier[version].digest):
        raise ConfigError(f"version {version} of {model!r} cannot be champion again: {address}: {damage}")
    registry.make_champion(version)
    print(f"{model}: version {version} is champion again; version {now.version} was until now")


def _open(recipe: Path | None, name: str, tracking: str, run_dir: str) -> "Registry":
    """The registry of a model that has a champion."""
    from copg.config import check_address
    from copg.run.recipe import load_recipe
    from copg.run.spelling import check_spelling, tracker_mistake
    from copg.tracking.mlflow import sqlite_path
    from copg.tracking.registry import Registry

    if recipe is not None:
        loaded = load_recipe(recipe, here=Path.cwd())
        name = name or loaded.name
        tracking = tracking or loaded.tracking or f"sqlite:///{runs_here(loaded, run_dir)}/mlflow.db"
    if not (name and tracking):
        raise ConfigError("whose champion? Give --recipe, or --name and --tracking")
    check_address(tracking, "--tracking")
    check_spelling(tracking, "--tracking")
    if mistake := tracker_mistake(tracking):
        raise ConfigError(f"--tracking={mistake}")
    path = sqlite_path(tracking)
    if path is None or path.exists():
        registry = Registry(tracking, name)
        registry.settle()
        if registry.champions():
            return registry
    raise ConfigError(f"{name!r} has no champion at {tracking}")


def _facts(version: "RegisteredVersion") -> dict[str, Any]:
    """What is shown of a version; what a registry of 0.1.0 never wrote is a dash."""
    from copg.tracking.registry import PROMOTED

    told = {"trial": "trial", "reward": "reward", "kl": "kl", "since": PROMOTED, "run": "run_id"}
    tags = {key: version.tags.get(tag, "-") for key, tag in told.items()}
    return {"version": version.version, "address": version.policy_uri, "digest": version.digest, **tags}
