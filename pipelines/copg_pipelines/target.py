"""What a command is about: a DAG, made of a recipe or there as a version, and its place on a server."""

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copg.cli.options import OptionalRecipe, RunDir, Sets, option
from copg.errors import ConfigError, without_secrets
from copg.run.spelling import check_spelling
from copg_pipelines.dags import DAGS

if TYPE_CHECKING:
    from copg.run.recipe import Recipe


ROOT = (
    re.compile(r"(s3|gs|minio)://[^/\s@?]+([/?]\S*)?"),
    "the address of a folder in a store, such as s3://bucket/copg, gs:// or minio://",
)
ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"), "lower-case letters, digits, '-' and '.'"
IMAGE = re.compile(r"[^\s@]+(@sha256:[0-9a-f]+)?"), "the name of an image, such as registry/copg@sha256:..."
NAME = re.compile(r"(?!\s)[^/\n]*(?<!\s)"), "a line without slashes and without spaces around it"
"""What options may hold, and that in words."""


def _known(name: str) -> str:
    if name not in DAGS:
        raise ConfigError(f"dag={name!r} is unknown; use one of {list(DAGS)}")
    return name


def check_name(option: str, name: str, rule: tuple[re.Pattern[str], str] = NAME) -> None:
    """Refuse a name that a server would refuse later, or take for another; an empty one is none.

    Args:
        option: as it is typed.
        name: its value.
        rule: what it may be, and that in words.

    Raises:
        ConfigError: the name, and what it may be.
    """
    if name and not rule[0].fullmatch(name):
        raise ConfigError(f"{option}={without_secrets(name)!r} must be {rule[1]}")


def check_number(
    option: str, value: float, unit: str, *, least: float = 0.0, above: float | None = None
) -> None:
    """Refuse a time that is none.

    Args:
        option: as it is typed.
        value: of it.
        unit: in words.
        least: the smallest there is.
        above: of which it is more; None: ``least`` holds.

    Raises:
        ConfigError: the value, and what it may be.
    """
    if not math.isfinite(value) or value < least or (above is not None and value <= above):
        bound = f">= {least:g}" if above is None else f"> {above:g}"
        raise ConfigError(f"{option}={value:g} must be a finite number {bound}, in {unit}")


_there = partial(option, panel="On a server")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A DAG and all that decides what it is on a server: options of commands, in the order of their help."""

    dag: Annotated[str, typer.Argument(help=f"Which DAG: {', '.join(DAGS)}.", callback=_known)]
    recipe: OptionalRecipe = None
    sets: Sets = None
    run_dir: RunDir = ""
    version: Annotated[str, _there("A version that is there, instead of --recipe.")] = ""
    image: Annotated[str, _there("Image of the tasks, with its digest; else the placement's.")] = ""
    pipeline: Annotated[str, _there("Name of the pipeline on the server; default: the DAG's.")] = ""
    revision: Annotated[
        str, _there("Revision of the source, where it is not a git repository: the image's label.")
    ] = ""
    service_account: Annotated[str, _there("Service account of the tasks, such as copg-runner.")] = ""
    pipeline_root: Annotated[
        str, _there("Where artifacts go, such as s3://bucket/copg; else the server's.")
    ] = ""

    def __post_init__(self) -> None:
        check_spelling(self.pipeline_root, "--pipeline-root")
        for spelt, name, rule in (
            ("--pipeline-root", self.pipeline_root, ROOT),
            ("--service-account", self.service_account, ACCOUNT),
            ("--image", self.image, IMAGE),
            ("--pipeline", self.pipeline, NAME),
        ):
            check_name(spelt, name, rule)

    @property
    def pipeline_name(self) -> str:
        """What the DAG is called on a server."""
        return self.pipeline or self.dag

    def load(self, *, here: bool = False) -> "Recipe":
        """The recipe, for the pods of a cluster; ``here``: for this machine, see ``load_recipe``.

        Raises:
            ConfigError: it is missing or wrong.
        """
        from copg.run.recipe import load_recipe

        if self.recipe is None:
            raise ConfigError("a recipe is needed: name it with --recipe")
        return load_recipe(self.recipe, self.sets or (), here=Path.cwd() if here else None)

    def runs_there(self, recipe: "Recipe") -> str:
        """The directory of the runs as the tasks of a cluster see it.

        Raises:
            ConfigError: it is relative, and a task starts in a folder of its own.
        """
        if self.run_dir and not self.run_dir.startswith("/"):
            raise ConfigError(f"run_dir={self.run_dir!r}: as the tasks see it, it starts with /")
        return self.run_dir or f"/runs/{recipe.name}"
