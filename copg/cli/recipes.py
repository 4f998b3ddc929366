"""``settings``, ``init`` and ``check``: the keys of a recipe, a first one, and what is wrong with one."""

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from copg.cli.command import Command

app = typer.Typer()
GROUP = "copg.sections"


@functools.cache
def joined_sections() -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
    """Sections of a recipe that installed packages read, by entry points; each a function that checks one."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


@app.command(cls=Command)
def settings(
    section: Annotated[
        str, typer.Argument(help="A stage, recipe, placement, or rewards.NAME; default: all of them.")
    ] = "",
    page: Annotated[
        bool, typer.Option("--page", help="Print them as Markdown, as in docs/recipe.md.")
    ] = False,
) -> None:
    """Show the keys of a recipe: their defaults, what they may be, and what they are for.

    copg settings train

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
