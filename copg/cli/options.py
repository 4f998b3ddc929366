"""Options that several commands take: one spelling and one meaning each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copg.errors import ConfigError
from copg.run.spelling import address_meant

if TYPE_CHECKING:
    from copg.run.recipe import Recipe

RUNS = Path("runs")

RecipeFile = Annotated[Path, typer.Option("--recipe", "-r", help="Recipe in YAML.")]
OptionalRecipe = Annotated[Path | None, typer.Option("--recipe", "-r", help="Recipe in YAML.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="key=value laid over the recipe, dots for depth: train.rows.tokens_per_batch=4096. Repeatable.",
    ),
]
RunDir = Annotated[
    str,
    typer.Option(
        "--run-dir",
        help="Directory of the runs: stores, checkpoints, tracking database; the same again reuses what has "
        "not changed. Default: runs/NAME of the recipe; on a cluster, as the tasks see it, /runs/NAME.",
    ),
]


def option(text: str, *spellings: str, panel: str, env: str = "", **more: Any) -> Any:
    """An option that stands under a panel of the help, and may come from the environment."""
    if env:
        more |= {"envvar": env, "show_envvar": True}
    return typer.Option(*spellings, help=text, rich_help_panel=panel, **more)


TRIAL = "Name of a trial in the recipe, such as copg_0.05."
Trial = Annotated[str, typer.Option("--trial", help=TRIAL)]


def runs_here(recipe: "Recipe", run_dir: str) -> Path:
    """The directory of a recipe's runs on this machine.

    Raises:
        ConfigError: ``run_dir`` is an address of something else.
    """
    if "://" in run_dir or address_meant(run_dir):
        raise ConfigError(f"run_dir={run_dir!r}: on this machine the directory of the runs is a folder")
    root = Path(run_dir) if run_dir else RUNS / recipe.name
    try:
        return root.resolve()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"run_dir={str(root)!r}: links lead in a circle: {error}") from None
