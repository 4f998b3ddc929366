"""The command and the server it talks to, for all tests beside this file."""

from tests.pipelines.command import command, server

__all__ = ["command", "server"]
