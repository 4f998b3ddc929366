"""How every command of ours ends: its exit code, and one line for a mistake."""

import sys
from typing import Any

import typer

from copg.errors import CopgError

INTERRUPTED = 130
"""Exit code that typer makes of Ctrl-C."""


def run_app(command: typer.Typer) -> None:
    """Run a command; a user's mistake, in its options too, is one line and exit code 1."""
    usage_error: Any = typer.BadParameter.__mro__[1]  # typer gives its base no public name
    code = 1
    try:
        code = command(standalone_mode=False) or 0
        message = "interrupted; the next run goes on from what was finished" if code == INTERRUPTED else ""
    except CopgError as error:
        message = str(error)
    except usage_error as error:
        message = error.format_message() if len(sys.argv) > 1 else ""
        if not message:
            error.show()
    if message:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
