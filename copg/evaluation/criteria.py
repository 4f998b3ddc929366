"""What a trial is held against before it may serve: settings alone, which promotion and report share."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from copg.config import AtLeastOne, NotNegative, configuration

DEFAULT_MAX_KL = 20.0
"""Nats a completion. A recipe should set its own: which KL is far depends on the length of completions."""
MaxKL = Annotated[float, Field(gt=0, description="at 0 only the reference itself would pass")]
MinGain = Annotated[float, Field(ge=0, description="below it a worse policy could pass")]
Probability = Annotated[float, Field(gt=0, lt=1)]


@configuration
class ErrorConfig:
    """How often a policy that is no better may ever be promoted: a budget for the life of a model's gate."""

    budget: Probability = 0.05
    """Probability that any of the promotions tried within the horizon is a mistake."""
    horizon: AtLeastOne = 52
    """Promotions tried that share the budget alike: one a week for a year."""
    refuse_hopeless: bool = True
    """Stop before anything is trained where nothing could be promoted whatever came out: too few gate prompts
    for any gain, however large, or rewards that differ within no prompt; else that is told."""

    @property
    def level(self) -> float:
        """What one promotion tried may spend."""
        return self.budget / self.horizon


@configuration
class GuardConfig:
    """What must not get worse while the reward gets better."""

    rewards: list[str] = field(default_factory=list)
    """Parts of weight 0, which no training sees: none may surely fall by more than ``margin``."""
    margin: NotNegative = 0.2
    """In standard deviations of a guard reward under the reference."""
    max_length_ratio: Annotated[float, Field(ge=1)] = 1.5
    """By which completions may surely be longer or shorter than the reference's, and than the logged ones."""
    max_unfinished: NotNegative = 0.05
    """By which the share of finished completions may surely fall."""
    max_correlation: NotNegative = 0.3
    """By which the correlation of reward and length may surely rise."""
    learnt_reward: bool = True
    """A reward model that the run trains has to rank held-out prompts surely better than a coin and than
    length alone; else nothing that it judged is promoted. ``false`` promotes all the same."""
    error: Probability = 0.05
    """Probability that a policy which keeps every margin is refused, all guards together (Holm)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """All of it."""

    max_kl: float = DEFAULT_MAX_KL
    """Nats a completion; the upper end of the KL's interval may not exceed it."""
    min_gain: float = 0.0
    """Reward units; the lower end of the gain's interval must exceed it."""
    level: float = ErrorConfig().level
    """Probability at which a gain that is none passes: the tail of its interval."""
    guards: GuardConfig = field(default_factory=GuardConfig)
