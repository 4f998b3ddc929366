"""What a command is about: a DAG, made of a recipe or there as a version, and its place on a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from copg.errors import ConfigError

if TYPE_CHECKING:
    from copg.run.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Target:
    """A DAG and all that decides what it is on a server."""

    dag: str
    """Its name in ``DAGS``."""
    recipe: Path | None = None
    sets: tuple[str, ...] = ()
    """``key=value`` each, laid over the recipe."""
    image: str = ""
    """Of the tasks; empty: the placement's."""
    run_dir: str = ""
    """Directory of the runs; empty: that of the recipe."""
    pipeline: str = ""
    """Its name on a server; empty: the DAG's."""
    revision: str = ""
    """Of our source; empty: that of the repository."""
    version: str = ""
    """One that is on a server, instead of a recipe."""
    service_account: str = ""
    """Of the tasks; empty: the server's."""
    pipeline_root: str = ""
    """Where artifacts go; empty: the server's."""

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
        return load_recipe(self.recipe, self.sets, here=Path.cwd() if here else None)

    def runs_there(self, recipe: "Recipe") -> str:
        """The directory of the runs as the tasks of a cluster see it.

        Raises:
            ConfigError: it is relative, and a task starts in a folder of its own.
        """
        if self.run_dir and not self.run_dir.startswith("/"):
            raise ConfigError(f"run_dir={self.run_dir!r}: as the tasks see it, it starts with /")
        return self.run_dir or f"/runs/{recipe.name}"
