"""One policy as the report shows it: what it earned, how far it went, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from copg.evaluation.best_of import BestOf
from copg.evaluation.objective import Objective, negated
from copg.records import Estimate, Evaluation
from copg.rewards.tables import interval

REFERENCE, CHAMPION, TRIAL, MIX = "reference", "champion", "trial", "mix"
OFF = 0.2
"""Share by which the KL of a trial may miss the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy as the report shows it."""

    name: str
    role: str
    """``reference``, ``champion``, ``trial``, or ``mix`` of a trial with the reference."""
    status: str
    """What became of it, in a word or two."""
    promoted: bool
    best: bool
    gate: Evaluation
    select: Evaluation
    gain: Estimate | None = None
    """Reward units over the reference, by prompt, on the gate split; None for the reference itself."""
    win_rate: Estimate | None = None
    """Probability that a completion earns more than one of the reference, a tie counting half."""
    part_gains: dict[str, Estimate] = field(default_factory=dict)
    """As ``gain``, for each named reward before weighting."""
    contributions: dict[str, Estimate] = field(default_factory=dict)
    """The gain split by what each named reward adds to the sum, in reward units: they add up to it."""
    objective: Objective | None = None
    """J at the run's one beta; None without one, and for the reference itself."""
    own_objective: Objective | None = None
    """J at the trial's own beta, where that is in reward units."""
    training: dict[str, Any] = field(default_factory=dict)
    """Facts of the trial's training: seed, steps, why it diverged."""
    of: str = ""
    """Of a mix, its trial."""
    weight: float | None = None
    """Of the trial's policy in a mix: 0 would be the reference, 1 the trial."""
    num_drawn: int = 0
    """Completions on the gate split."""
    best_of: Sequence[BestOf] = ()
    """Of the reference: what it earns where the best of 1, 2, 4, ... completions is taken."""

    @property
    def method(self) -> str | None:
        """Loss of the trial."""
        return self.gate.method

    @property
    def beta(self) -> float | None:
        """Reward units per nat."""
        return self.gate.beta

    @property
    def training_text(self) -> str:
        """Method and beta as a reader sees them, of a mix its weight; empty for reference and champion."""
        if self.weight is not None:
            return f"no training: {self.weight:g} of {self.of}, {self.num_drawn} completions drawn"
        method = [] if self.method is None else [self.method]
        target = f" for {self.target_kl:g} nats" if self.target_kl else ""
        return ", ".join(method + ([] if self.beta is None else [f"β = {self.beta:g}{target}"]))

    @property
    def target_kl(self) -> float | None:
        """Nats that the trial was to go from the reference, where it named them."""
        target: float | None = (self.training.get("pilot") or {}).get("target")
        return target

    @property
    def objectives(self) -> list[Objective]:
        """J at the trial's own beta and at the run's, each once."""
        found = [each for each in (self.own_objective, self.objective) if each]
        return found[:1] if len({each.beta for each in found}) == 1 else found

    @property
    def below_reference(self) -> bool:
        """Whether doing nothing is surely worth more, at the trial's own beta or at the run's."""
        return any(each.below_reference for each in self.objectives)

    @property
    def hints(self) -> list[str]:
        """A sentence each: where doing nothing is worth more, and how the training ended; none of a mix."""
        if self.role == MIX:
            return []
        lost = [each for each in self.objectives if each.below_reference and not self.diverged]
        return [
            *(
                f"worth less than the reference: at {each.beta:g} reward units a nat its J is lower by "
                f"{interval(negated(each.gain))}"
                for each in lost
            ),
            *self._missed(),
            *self.training.get("hints", []),
        ]

    def _missed(self) -> list[str]:
        """By how much it went otherwise than asked, where surely by more than ``OFF``."""
        target, kl = self.target_kl, self.gate.kl
        near = target and (1 - OFF) * target <= kl.high and kl.low <= (1 + OFF) * target
        if target is None or near or self.diverged:
            return []
        remedy = "train longer, or ask for more" if kl.mean < target else "ask for less"
        return [f"asked for {target:g} nats and went {interval(kl)}: {remedy}"]

    @property
    def diverged(self) -> bool:
        """True when training met a non-finite loss or a collapsed reward."""
        return self.gate.diverged
