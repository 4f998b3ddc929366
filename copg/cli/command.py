"""What a command does before its function runs: it groups its help, and refuses options without effect."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand

from copg.errors import ConfigError


@dataclass(frozen=True)
class Refusal:
    """Options of a command that have no effect in some circumstances."""

    options: tuple[str, ...]
    """Names of parameters of the command's function."""
    when: Callable[[Mapping[str, Any]], bool]
    """Whether the circumstances are these, from the values of all parameters."""
    why: str
    """The circumstances in words, such as ``with --on local``."""


def refuses(*refusals: Refusal) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command refuse options that were typed in circumstances where they have no effect.

    A value from the environment is no request: it stands there for other commands.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.refusals = refusals  # type: ignore[attr-defined]
        return function

    return mark


class Command(TyperCommand):
    """A command whose options stand in its help by panel."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            ConfigError: an option was typed that has no effect here.
        """
        for refusal in getattr(self.callback, "refusals", ()):
            if refusal.when(ctx.params):
                for name in refusal.options:
                    if _typed(ctx, name):
                        raise ConfigError(f"{self._spelling(name)} has no effect {refusal.why}; leave it out")
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if param.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(param, "rich_help_panel", None) or kind, []).append(record)
        for title, records in panels.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def _spelling(self, name: str) -> str:
        (param,) = (each for each in self.params if each.name == name)
        return str(param.opts[0] if param.param_type_name == "option" else name.upper())


def _typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def with_options(run: Callable[..., Any], options: Mapping[str, tuple[Any, Any]]) -> Callable[..., Any]:
    """Let typer see these options in place of what ``run`` says that it takes.

    Args:
        run: called with the options by name.
        options: annotation and default of each; ``...`` for one that is required.
    """
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    parameters = [
        inspect.Parameter(name, kind, default=empty if default is ... else default, annotation=hint)
        for name, (hint, default) in options.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {name: hint for name, (hint, _) in options.items()}
    return run


def make_command(name: str, function: Callable[..., Any]) -> TyperCommand:
    """The command that a function with typer's annotations stands for."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, cls=Command)(function)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command
