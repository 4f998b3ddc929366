"""A line of ``doctor``: what was looked at, and whether it is well or what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found."""

    name: str
    text: str
    """What is there; for one that is not well, what to do."""
    well: bool | None
    """None: it could not be looked at, or does not matter to every recipe."""

    def line(self) -> str:
        """``ok    storage: ...``; ``todo`` for what is to be done, ``note`` for what may matter."""
        word = {True: "ok", False: "todo", None: "note"}[self.well]
        return f"{word:<6}{self.name}: {self.text}"


def ok(name: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(name, text, True)


def todo(name: str, text: str) -> Finding:
    """Something that runs need and that is not there."""
    return Finding(name, text, False)


def note(name: str, text: str) -> Finding:
    """Something that could not be looked at, or that only some recipes need."""
    return Finding(name, text, None)
