"""How rows are to be read, and what one was found to hold before it is known to be right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from copg.records import Prompt


@dataclass(slots=True)
class Found:
    """A prompt and its completions as they stand in a row; any of it may still be refused."""

    prompt: Any
    completions: list[Any]
    rewards: list[Any] | None = None
    finished: Any = None
    own: list[dict[str, Any]] | None = None
    """Columns of each completion alone, beside those of the record."""
    root: Prompt | None = None
    """What the conversation began with, whose side of the split this prompt is on too."""
    unranked: int = 0
    """Completions left out, as they have no rank and others of the prompt do."""
    took: tuple[str, ...] = ()
    """Columns of the row that are in here, where its shape does not tell."""
    marks: tuple[str, ...] = ()
    """Columns that are rewards here, and stay with the record all the same."""
    more: dict[str, Any] | None = None
    """Columns of the record that stand deeper in its row."""
    note: str = ""
    """Of the rewards, where they are not those that stand there."""
    unused: str = ""
    """Of feedback that is no reward, in words."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the user says of how records are read."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """The user's name of each field that is called otherwise, "" to leave it out; ``a.b`` reaches into
    objects, and through lists of objects item by item. ``reward`` also names the feedback of a trace,
    and a score of answers."""
    read_as: str | None = None
    """The shape that every row has; None to tell by its columns."""
    all_turns: bool = False
    """Every assistant turn of a chat is a completion of what came before it, not the last one alone."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What matters of that to a shape."""

    all_turns: bool = False
    feedback: str | None = None
    """The feedback of a trace, or the score of answers, that is the reward, where there are several."""
    settled: bool = False
    """The shape was asked for: what stands beside it is no other reading."""
    dropped: set[str] = field(default_factory=set)
    """Gets the keys of a row's messages that nothing reads."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of rows."""

    name: str
    """As in ``read_as``."""
    says: str
    """What a row is, in words."""
    takes: tuple[str, ...]
    """Columns that make the record; all others stay with it."""
    fits: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], Wish], list[Found]]
