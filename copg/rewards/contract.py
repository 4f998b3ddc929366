"""What a reward is: its place in a recipe, its call, and how it says that a record is at fault."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from math import isfinite, nan
from typing import Any, ClassVar, NamedTuple, Protocol

from copg.config import Natural, NotNegative, configuration
from copg.errors import RewardError
from copg.records import Prompt


@configuration
class Condition:
    """A hard constraint: a reward counts only where a part passes."""

    part: str
    """Name of the part that decides, before standardisation."""
    at_least: float | None = None
    """Lowest value with which it passes."""
    at_most: float | None = None
    """Highest value with which it passes."""
    otherwise: float = 0.0
    """What the reward counts as elsewhere, before its weight."""

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"only_if of part '{self.part}' needs 'at_least' or 'at_most' or both")
        if not isfinite(self.otherwise):
            raise ValueError(f"only_if: otherwise={self.otherwise} must be a finite number")

    def passes(self, value: float) -> bool:
        """Whether the deciding part allows the reward."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


@configuration
class Ensemble:
    """Several rewards that count as one: the mean of what they say, less a part of how far they disagree.

    Off the logs learnt rewards disagree, and a policy finds where one of them errs upwards; see Coste and
    others, https://arxiv.org/abs/2310.02743, whose uncertainty-weighted optimisation takes off the variance.
    The standard deviation is in reward units, so that no scale of rewards changes what is best. With two
    members and a coefficient of 1 it is the lower of both: their worst-case optimisation.
    """

    name: str
    """Shared by the members. These have one weight, which is the ensemble's, and are on one scale: all of
    them standardised, as reward models have to be, or all in the same unit."""
    coefficient: NotNegative = 1.0
    """Standard deviations over the members that are taken off their mean; 0 is the mean alone."""
    member: Natural = 0
    """Which of the models that ``reward.members`` trains a ``reward_model`` without a model stands for, from
    0 on; an entry that does not say stands for all of them."""

    def __post_init__(self) -> None:
        if not (self.name and isfinite(self.coefficient)):
            raise ValueError(f"ensemble: name={self.name!r} and coefficient={self.coefficient} must be given")


@configuration(kw_only=False)
class RewardSpec:
    """One entry of a recipe's ``rewards``."""

    name: str
    """One that there is, or your own ``module:function`` or ``path/file.py:function``."""
    weight: float = 1.0
    """Factor in the sum; negative for a penalty, 0 to watch a reward without training on it."""
    params: dict[str, Any] = field(default_factory=dict)
    """Settings of the reward itself."""
    label: str | None = None
    """Name of the part in scored data, metrics and report; needed when one reward is used twice."""
    standardise: bool = False
    """Take off the mean and divide by the standard deviation of all completions of the train split."""
    clip: tuple[float, float] | None = None
    """Lowest and highest value that counts, after standardisation."""
    only_if: Condition | None = None
    """Count it only where another part passes."""
    ensemble: Ensemble | None = None
    """Count it together with others as one reward, whose value is their mean less what they disagree by."""
    digest: str = ""
    """Of the model, tokeniser or code of your own that is meant, when it is known; empty: what lies there."""

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip={list(self.clip)} of reward '{self.name}' must rise")
        if not isfinite(self.weight):
            raise ValueError(f"weight={self.weight} of reward '{self.name}' must be a finite number")

    @property
    def part(self) -> str:
        """The name of the part: the label, else the reward's name without a module or path."""
        return self.label or self.name.rpartition(":")[2]


Prompts = Sequence[Prompt]
"""[N] the prompt of each completion."""
Columns = Sequence[Mapping[str, Any]]
"""[N] what else the record of each completion held."""


class Reward(Protocol):
    """A batch of completions in, one number each out, in the same order.

    The completions of one prompt stand next to each other, and a batch never splits them. A value must not
    depend on what else is in the batch, except for a reward that says ``whole_group = True``: it may look
    at all completions of the prompt.

    What a reward may also say about itself, by attributes:

    - ``reads``: columns its value depends on; without it, all of them.
    - ``may_read``: beside those, columns that it depends on where a record has them.
    - ``may_lack``: of a reward that comes with the library, those of ``reads`` that it can do without.
    - ``reads_prompt``: False when the prompt does not matter.
    - ``whole_group``: True as above.
    - ``repeatable``: False when a second call may give another value; stored ones are then not checked.
    - ``without_effect``: settings that change no value (batch sizes, folders).
    - ``content()``: digests of files its settings name, such as a model's weights.
    - ``warnings()``: lines to tell when all is scored, as of values that stand for no judgement.
    - ``bounds``: its lowest and highest value; intervals of bounded rewards are exact.
    """

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> Sequence[float]:
        """One value for each completion, in reward units.

        Args:
            prompts: [N] the prompt of each completion.
            completions: [N] texts.
            columns: [N] what else the record held: reference texts, tests.
        """


class Scale(NamedTuple):
    """Of one part over all completions of the train split, in its own units."""

    mean: float
    std: float


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


class OfColumn:
    """A reward that depends on the completion and on one column of its record, not on the prompt."""

    column: str
    reads_prompt: ClassVar[bool] = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns the value depends on."""
        return (self.column,)

    def texts(self, columns: Columns) -> list[list[str]]:
        """[N] the texts of each record, at least one."""
        return [read_texts(row, self.column, i) for i, row in enumerate(columns)]


def finite_floats(given: Any, expected: int) -> list[float]:
    """What a reward gave, once it is one finite number a completion.

    Raises:
        RecordFault: a value is no finite number.
        RewardError: no values, or not as many as there are completions.
    """
    try:
        values = list(given)
    except TypeError:
        raise RewardError(f"must give one number a completion, got {type(given).__name__}") from None
    if len(values) != expected:
        raise RewardError(f"gave {len(values)} values for {expected} completions")
    for i, value in enumerate(values):
        try:
            values[i] = nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            values[i] = nan
        if not isfinite(values[i]):
            raise RecordFault(i, f"gave {value!r:.60}, no finite number")
    return values


def missing_package(package: str) -> RewardError:
    """The error of a reward whose package is not installed."""
    return RewardError(f"needs the package {package}: pip install 'copg[rewards]'")
