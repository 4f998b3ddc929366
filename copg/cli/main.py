"""The command ``copg``: stages, stores, and what entry points of the group ``copg.commands`` add.

An entry point of any installed package names a function with typer's annotations, which is loaded when it is
asked for, and the extra that it needs: ``run = "package.module:function [extra]"``. Further to the right in
the order of rooms nothing is imported from here otherwise.
"""

import functools
import re
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from copg.cli import recipes, runs, stages
from copg.cli.champion import champion_app
from copg.cli.command import make_command
from copg.cli.renamed import RenamedError, refuse_renamed
from copg.cli.stores import store_app
from copg.errors import CopgError, disk_mistake, hide_secrets, one_line
from copg.lm.memory import memory_mistake

GROUP = "copg.commands"
INTERRUPTED = 130
"""Exit code that typer makes of Ctrl-C."""


class MissingExtraError(CopgError):
    """A command needs an extra that is not installed."""


class Commands(TyperGroup):
    """The commands of this package, then those of entry points in the order of their names."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        return [*super().list_commands(ctx), *joined()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name; None where there is none."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in joined():
            found = make_command(cmd_name, joined()[cmd_name].load())
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is to run.

        Raises:
            MissingExtraError: it needs an extra that is not installed.
        """
        if args and args[0] in joined() and args[0] not in self.commands:
            _check_extras(args[0], joined()[args[0]])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the first paragraph of its help, a section for each extra."""
        sections = {"Commands": {name: each.help or "" for name, each in self.commands.items()}}
        for name, entry in joined().items():
            title = f"Commands of {_requirement(entry)}"
            sections.setdefault(title, {})[name] = entry.load().__doc__ or ""
        width = max(len(name) for texts in sections.values() for name in texts)
        for title, texts in sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:<{width}}", text.partition("\n\n")[0]) for name, text in texts.items()]
                )


@functools.cache
def joined() -> dict[str, EntryPoint]:
    """The entry points of the group by name, this package's own first; a source never installed has none."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda each: _package(each) != "copg"):
        found.setdefault(entry.name, entry)
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _requirement(entry: EntryPoint) -> str:
    """What to install for a command: ``package[extra]``."""
    return f"{_package(entry)}[{','.join(entry.extras)}]" if entry.extras else _package(entry)


def _check_extras(name: str, entry: EntryPoint) -> None:
    for line in (entry.dist.requires if entry.dist else None) or []:
        extra = re.search(r"""extra == ['"]([^'"]+)""", line)
        if extra and extra[1] in entry.extras:
            try:
                Distribution.from_name(re.split(r"[^\w.-]", line)[0])
            except PackageNotFoundError:
                raise MissingExtraError(f"copg {name} needs: pip install '{_requirement(entry)}'") from None


app = typer.Typer(
    cls=Commands,
    name="copg",
    help="Align a language model on any score of a whole completion, from logged data.\n\n"
    "A stage is a command, in the order of the pipeline; `copg run` runs them all, here or on a cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(stages.app)
app.add_typer(recipes.app)
app.add_typer(runs.app)
app.add_typer(store_app)
app.add_typer(champion_app)


def main() -> None:
    """Run ``copg``; a user's mistake, in its options too, is one line and exit code 1.

    The code is 2 where the same is spelt otherwise now, or takes an extra that is not installed.
    """
    usage_error: Any = typer.BadParameter.__mro__[1]  # typer gives its base no public name
    code, message = 1, ""
    hide_secrets()
    try:
        refuse_renamed(sys.argv[1:])
        code = app(standalone_mode=False, prog_name="copg") or 0
        message = "interrupted; the next run goes on from what was finished" if code == INTERRUPTED else ""
    except CopgError as error:
        code = 2 if isinstance(error, RenamedError | MissingExtraError) else 1
        message = str(error)
    except (RuntimeError, MemoryError, OSError) as error:
        mistake = memory_mistake(error, {}) or disk_mistake(error)
        if mistake is None:
            raise
        code, message = 1, str(mistake)
    except usage_error as error:
        message = error.format_message()
        if (given := _given(error, sys.argv)) and repr(given) not in message:
            message = f"{message.removesuffix('.')}, found {given!r}"
        if message.startswith("Usage:"):  # commands alone, of which the help tells
            message = ""
            error.show()
    if message:
        print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(code)


def _given(error: Any, words: Sequence[str]) -> str:
    """What was typed for an option that does not take it; empty where that is not known."""
    spellings = getattr(getattr(error, "param", None), "opts", None) or []
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in spellings:
            return value if equals else " ".join(words[at + 1 : at + 2])
    return ""


if __name__ == "__main__":
    main()
