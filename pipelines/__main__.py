"""``python -m pipelines``, also installed as ``copg-pipelines``: compile and run the DAGs."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from copg.cli import run_app

app = typer.Typer(
    name="copg-pipelines",
    help="Compile and run the DAGs of copg.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Dag(StrEnum):
    """The DAGs there are."""

    ALIGN = "align"


class Place(StrEnum):
    """Where a DAG can run."""

    LOCAL = "local"


Name = Annotated[Dag, typer.Argument(help="Which DAG.")]
RecipeFile = Annotated[Path, typer.Option("--recipe", "-r", help="Recipe in YAML.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value laid over the recipe, dots for depth: train.epochs=2. May be repeated."
    ),
]


@app.command("compile")
def compile_dag(
    dag: Name,
    recipe: RecipeFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the compiled DAG goes, .yaml.")],
    image: Annotated[str, typer.Option(help="Image of the tasks, best with its digest.")] = "",
    run_dir: Annotated[
        str, typer.Option(help="Stable directory of the runs, as the tasks see it; default /runs/NAME.")
    ] = "",
    sets: Sets = None,
) -> None:
    """Compile a DAG with a recipe as its defaults; paths are taken as they stand in the recipe."""
    from components import IMAGE
    from copg.recipe import load_recipe
    from pipelines.compiling import compile_align

    loaded = load_recipe(recipe, sets or [])
    compile_align(loaded, output, run_dir=run_dir or f"/runs/{loaded.name}", image=image or IMAGE)
    print(output)


@app.command()
def run(
    dag: Name,
    recipe: RecipeFile,
    root: Annotated[
        Path, typer.Option(help="Directory of the runs; the same again reuses what has not changed.")
    ],
    on: Annotated[Place, typer.Option(help="Where to run.")] = Place.LOCAL,
    sets: Sets = None,
) -> None:
    """Run a DAG and wait for it.

    Relative paths in the recipe start from the recipe's own folder, those in --set from here.
    """
    from copg.recipe import load_recipe
    from pipelines.local import run_local
    from pipelines.show import failure_line, show_summary

    loaded = load_recipe(recipe, sets or [], here=Path.cwd())
    summary = run_local(loaded, root)
    if summary["failure"]:
        print(failure_line(summary), file=sys.stderr)
        raise typer.Exit(1)
    show_summary(summary)


def main() -> None:
    """Run ``copg-pipelines``."""
    run_app(app)


if __name__ == "__main__":
    main()
