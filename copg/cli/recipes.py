"""``settings``, ``init`` and ``check``: the keys of a recipe, a first one, and what is wrong with one."""

import functools
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.command import Command
from copg.cli.options import RunDir, Sets, runs_here
from copg.errors import ConfigError

app = typer.Typer()
GROUP = "copg.sections"


@functools.cache
def joined_sections() -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
    """Sections of a recipe that installed packages read, by entry points; each a function that checks one."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


@app.command(cls=Command)
def settings(
    section: Annotated[
        str, typer.Argument(help="A stage, recipe, placement, rewards.NAME, or a key at dots; default: all.")
    ] = "",
    page: Annotated[
        bool, typer.Option("--page", help="Print them as Markdown, as in docs/recipe.md.")
    ] = False,
) -> None:
    """Show the keys of a recipe: their defaults, what they may be, and what they are for.

    copg settings train

    copg settings train.optimizer

    copg settings rewards.rouge
    """
    from copg.run.keys_shown import keys_in, render_page, section_names, show_keys

    sections = joined_sections()
    if page:
        print(render_page(sections), end="")
        return
    for name in [section] if section else section_names(sections):
        if not section:
            print(f"== {name}")
        for line in show_keys(keys_in(name, sections)):
            print(line)


@app.command(cls=Command)
def init(
    recipe: Annotated[Path, typer.Argument(help="File to write, such as my.yaml; it must not be there yet.")],
    records: Annotated[
        str, typer.Option(help="File or folder of records, or name of a data set: copg looks at the first.")
    ],
    model: Annotated[str, typer.Option(help="The reference: a directory, or a name of the hub.")],
) -> None:
    """Write a recipe to begin with: what must be said, and what is turned most, with what each key is for.

    copg init my.yaml --records my.jsonl --model HuggingFaceTB/SmolLM2-135M
    """
    from copg.config import check_address
    from copg.data.found import Reading
    from copg.run.first_recipe import as_seen_from, write_recipe
    from copg.run.first_records import read_first
    from copg.run.recipe import NAME
    from copg.run.sources import looks_like_path
    from copg.run.spelling import check_spelling

    for option, value in (("--records", records), ("--model", model)):
        check_address(value, option)
        check_spelling(value, option)
    if recipe.suffix not in (".yaml", ".yml") or not NAME.fullmatch(recipe.stem):
        raise ConfigError(f"{recipe}: a recipe is called NAME.yaml, of letters, digits, '.', '_' and '-'")
    if recipe.exists():
        raise ConfigError(f"{recipe}: is there already; name another, or remove it")
    if not recipe.parent.is_dir():
        raise ConfigError(f"{recipe}: there is no folder {recipe.parent}")
    if not model or (looks_like_path(model) and not Path(model).is_dir()):
        raise ConfigError(f"--model={model!r}: no such directory; name one with a model, or one of the hub")
    found = read_first(records, Reading())
    there, base = (as_seen_from(Path(each), recipe.parent) for each in (records, model))
    with recipe.open("x") as file:
        file.write(write_recipe(recipe.stem, there, base, found))
    if found.refused and not found.shapes:
        told = f"none of the first {found.read} is a record, such as {found.refused[0]}"
        print(f"warning: {records}: {told}", file=sys.stderr)
    print(f"{recipe}: check it with  copg check {recipe}")


@app.command(cls=Command)
def check(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML.")],
    sets: Sets = None,
    run_dir: RunDir = "",
) -> None:
    """Say what is wrong with a recipe, in seconds and without a GPU: settings, first records, model's files.

    A line for each thing that was looked at; fails when there is an error. Nothing is written.

    copg check my.yaml
    """
    from copg.run.first_look import look_at
    from copg.run.mending import mended
    from copg.run.model_look import ERROR
    from copg.run.recipe import read_recipe

    loaded, gone, told = mended(read_recipe(recipe, sets or (), here=Path.cwd()))
    well = True
    for look in look_at(loaded, runs_here(loaded, run_dir), joined_sections(), gone, told):
        print(look, flush=True)
        well = well and look.kind != ERROR
    if not well:
        raise typer.Exit(1)
