"""What a reward is: its place in a recipe, its call, and how it says that a record is at fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import ConfigDict

from copg.config import STRICT
from copg.errors import RewardError
from copg.records import Prompt


@dataclass(frozen=True)
class RewardSpec:
    """One entry of a recipe's ``rewards``."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    """A key of ``REWARDS``, or a user's own ``module:function`` or ``path/file.py:function``."""
    weight: float = 1.0
    """Factor in the sum; negative for a penalty, 0 to watch a reward without training on it."""
    params: dict[str, Any] = field(default_factory=dict)
    """Settings of the reward itself."""
    label: str | None = None
    """Name of the part in scored data, metrics and report; needed when one reward is used twice."""

    def __post_init__(self) -> None:
        if not isfinite(self.weight):
            raise ValueError(f"weight={self.weight} of reward '{self.name}' must be a finite number")

    @property
    def part(self) -> str:
        """The name of the part: the label, else the reward's name without a module or path."""
        return self.label or self.name.rpartition(":")[2]


class Reward(Protocol):
    """A batch of completions in, one number each out, in the same order.

    The completions of one prompt stand next to each other, and a batch never splits them. A value must not
    depend on what else is in the batch, except for a reward that says ``whole_group = True``: it may look
    at all completions of the prompt.

    What a reward may also say about itself, by attributes:

    - ``reads``: columns its value depends on; without it, all of them.
    - ``reads_prompt``: False when the prompt does not matter.
    - ``whole_group``: True as above.
    - ``without_effect``: settings that change no value (batch sizes, folders).
    - ``content()``: digests of files its settings name, such as a model's weights.
    """

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        columns: Sequence[Mapping[str, Any]],
    ) -> Sequence[float]:
        """One value for each completion, in reward units.

        Args:
            prompts: [N] the prompt of each completion.
            completions: [N] texts.
            columns: [N] what else the record held: reference texts, tests.
        """


class Scores(NamedTuple):
    """Rewards of a batch of completions."""

    total: list[float]
    """[N] the mixture, in reward units."""
    parts: dict[str, list[float]]
    """[N] each reward before weighting, by the name of its part."""


class RecordFault(RewardError):
    """One record of a batch cannot be scored; the mixture puts the record's name before the message."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        """Position in the batch."""


def read_column(columns: Mapping[str, Any], name: str, index: int) -> Any:
    """The value of a column, ``meta.references`` meaning ``references`` inside ``meta``.

    A column whose own name has a dot is found first.

    Raises:
        RecordFault: the record has no such column; the message lists those it has.
    """
    if name in columns:
        return columns[name]
    value: Any = columns
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise RecordFault(index, f"column '{name}' is missing; the record has {sorted(columns)}")
        value = value[key]
    return value


def read_texts(columns: Mapping[str, Any], name: str, index: int) -> list[str]:
    """A column of one text or several, as a list that is not empty.

    Raises:
        RecordFault: the column is missing, empty, or holds something else than text.
    """
    value = read_column(columns, name, index)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RecordFault(index, f"column '{name}' must hold a text or a list of texts, found {value!r:.60}")
    if not texts:
        raise RecordFault(index, f"column '{name}' is an empty list: nothing to compare with")
    return texts


def missing_package(package: str) -> RewardError:
    """The error of a reward whose package is not installed."""
    return RewardError(f"needs the package {package}: pip install 'copg[rewards]'")
