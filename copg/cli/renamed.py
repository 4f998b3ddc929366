"""Spellings of version 0.1.0: a table of what they became, and the words of a command in the new spelling."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from copg.errors import CopgError

COMMANDS = {"train-reward": "reward"}
OPTIONS = {"--config": "--recipe", "-c": "--recipe", "--root": "--run-dir"}


class RenamedError(CopgError):
    """A command, an option or a key is spelt otherwise now."""


def renew(words: Sequence[str]) -> list[str]:
    """The words after ``copg`` in the spelling of today."""
    command, *rest = words or [""]
    new = [COMMANDS.get(command, command)]
    of_stage = any(
        word.partition("=")[0] in ("--config", "-c") for word in rest
    )  # whose keys --set then took
    if command == "resume" and rest and Path(rest[0]).is_dir():
        new.append("--run-dir")
    for before, word in zip(["", *rest], rest, strict=False):
        option, equals, value = word.partition("=")
        key = f"{new[0]}.{option}" if of_stage and before == "--set" else OPTIONS.get(option, option)
        new.append(f"{key}{equals}{value}")
    return new if words else []


def refuse_renamed(words: Sequence[str]) -> None:
    """Refuse old spellings.

    Raises:
        RenamedError: with the whole command in the new spelling.
    """
    if (new := renew(words)) != [*words]:
        raise RenamedError(f"spelt otherwise now: {shlex.join(['copg', *new])}")


def old_command() -> None:
    """``copg-pipelines`` and ``python -m pipelines``: say that ``copg`` is the command."""
    new = renew(sys.argv[1:])
    if new[:1] == ["explain-cache"] and not any(word.startswith("--run-dir") for word in new):
        new += ["--on", "cluster"]  # where it looked unless it was given a directory
    print(f"error: spelt otherwise now: {shlex.join(['copg', *new])}", file=sys.stderr)
    sys.exit(2)
