"""What logs can support: reward and KL of the best policy at each beta, before anything is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from copg.records import Estimate
from copg.rewards.tables import interval

Base = Literal["reference", "weighted", "others"]
BASES: dict[str, str] = {
    "reference": "drawn from the reference",
    "weighted": "logged by others, weighted by the reference's own probabilities",
    "others": "logged by others, taken for the reference's own (extrapolated; stage reference weighs it)",
}
USUAL = (0.1, 0.7)
"""Shares of the support between which a sweep of betas is worth its while."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The optimum at one beta, ref * exp(R / beta) / Z, as the logs predict it; means over prompts."""

    beta: float
    """Reward units per nat."""
    reward: Estimate
    """E[R] of the optimum, reward units."""
    kl: Estimate
    """From the reference, nats a completion."""
    objective: Estimate
    """J* = beta ln E_ref[exp(R / beta)], the most that E[R] - beta KL can be, reward units."""
    gain: float
    """J* less the reward of the reference on the same completions, reward units."""
    effective: float
    """Effective sample size of a prompt's completions, 1 / sum of squared weights."""
    lower_bound: bool
    """True where the logs are too few for this beta: the optimum has at least so much KL and reward."""

    @property
    def bound(self) -> str:
        """``at least`` where it is a lower bound."""
        return "at least" if self.lower_bound else ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Betas in falling order, and the most that the logs support."""

    base: str
    """One of ``BASES``: whose completions the expectation is over."""
    support: float
    """Nats: mean over prompts of -ln(share of the best), ln(K / number of best) where all weigh the same."""
    num_prompts: int
    """Of at least two completions, that were looked at."""
    rungs: Sequence[Rung]

    def gain_at(self, beta: float) -> float:
        """J* less the reward of the reference at any beta, between and beyond the rungs; NaN without rungs.

        It falls with beta, in the end as variance / (2 beta): the logarithms are joined by lines.
        """
        known = [rung for rung in self.rungs if rung.gain > 0]
        if not known or not beta > 0:
            return math.nan
        betas = np.log([rung.beta for rung in known][::-1])
        gains = np.log([rung.gain for rung in known][::-1])
        beyond = max(0.0, math.log(beta) - float(betas[-1]))
        return math.exp(float(np.interp(math.log(beta), betas, gains)) - beyond)

    def kl_at(self, beta: float) -> float:
        """Predicted KL at any beta, nats; beyond the rungs as variance / (2 beta**2); NaN without rungs."""
        known = [rung for rung in self.rungs if rung.kl.mean > 0]
        if not known or not beta > 0:
            return math.nan
        betas = np.log([rung.beta for rung in known][::-1])
        kls = np.log([rung.kl.mean for rung in known][::-1])
        beyond = max(0.0, math.log(beta) - float(betas[-1]))
        return math.exp(float(np.interp(math.log(beta), betas, kls)) - 2 * beyond)

    def beta_for(self, kl: float) -> float:
        """The beta at which the optimum is predicted to lie ``kl`` nats away; NaN without rungs.

        Between the rungs and beyond them their logarithms are joined by lines; where the pull is strong the
        KL is variance / (2 beta**2).
        """
        known = [rung for rung in self.rungs if rung.kl.mean > 0]
        if not known or not kl > 0:
            return math.nan
        betas = np.log([rung.beta for rung in known])
        kls = np.maximum.accumulate(np.log([rung.kl.mean for rung in known]))
        aim = math.log(kl)
        if aim < kls[0]:
            return math.exp(float(betas[0]) + (float(kls[0]) - aim) / 2)
        if aim > kls[-1]:
            rise = float(kls[-1] - kls[-2]) if len(known) > 1 else 0.0
            steepness = float(betas[-2] - betas[-1]) / rise if rise > 0 else 1.0
            return math.exp(float(betas[-1]) - (aim - float(kls[-1])) * steepness)
        return math.exp(float(np.interp(aim, kls, betas)))

    def doubt(self, beta: float) -> str | None:
        """What is to be said of a trial's beta that lies far outside of the ladder, in one line."""
        if not self.rungs:
            return None
        top, bottom = self.rungs[0], self.rungs[-1]
        if beta < bottom.beta / 2:
            return (
                f"beta={beta:g} asks for more than these logs support: at {bottom.beta:g} the optimum "
                f"already lies {bottom.kl.mean:.2g} nats away, of {self.support:.2g} at most"
            )
        if beta > 2 * top.beta:
            return (
                f"beta={beta:g} is so high that the best policy lies {self.kl_at(beta):.1g} nats from the "
                f"reference and gains {self.gain_at(beta):.1g} at most: these logs have their use from "
                f"{top.beta:g} downward"
            )
        return None

    def _usual(self) -> Sequence[Rung]:
        """The rungs between which a sweep is worth its while."""
        low, high = (share * self.support for share in USUAL)
        return [r for r in self.rungs if 0.95 * low <= r.kl.mean <= 1.1 * high] or self.rungs

    def range(self) -> str:
        """The betas that a sweep would take, for a person."""
        usual = self._usual()
        first, last = usual[0], usual[-1]
        return (
            f"betas to try: {first.beta:g} ({first.kl.mean:.2g} nats) to {last.beta:g} "
            f"({last.bound + ' ' if last.bound else ''}{last.kl.mean:.2g} nats)"
        )

    def summary(self) -> str:
        """The most that the logs support, and whose they are."""
        return (
            f"the most these logs can support is {self.support:.2f} nats ({self.num_prompts:,} "
            f"{'prompt' if self.num_prompts == 1 else 'prompts'} of several completions, {BASES[self.base]})"
        )

    def lines(self) -> list[str]:
        """The ladder as a terminal shows it."""
        rows = (HEAD, *self.rows())
        cells = [[f"{cell:>{width}}" for cell, width in zip(row, WIDTHS, strict=True)] for row in rows]
        return [self.summary(), *("  ".join(row).rstrip() for row in cells)]

    def rows(self) -> list[list[str]]:
        """A row of texts a rung, under ``HEAD``."""
        return [
            [
                f"{rung.beta:g}",
                _short(rung.reward),
                _short(rung.kl),
                _short(rung.objective),
                f"{rung.effective:.1f}",
                "lower bound" if rung.lower_bound else "",
            ]
            for rung in self.rungs
        ]

    def advice(self, spread: float) -> list[str]:
        """For a person: the spread of rewards within a prompt, the betas to try, and the ladder."""
        if not self.rungs:
            return [
                "rewards do not differ within any training prompt: training would only pull to the reference"
            ]
        return [f"reward spread within a prompt {spread:.3g}; {self.range()}", *self.lines()]

    def metrics(self) -> dict[str, float]:
        """Support in nats, and the betas between which a sweep would lie, reward units per nat."""
        usual = self._usual()
        ends = {"beta/highest_to_try": usual[0].beta, "beta/lowest_to_try": usual[-1].beta} if usual else {}
        return {"support/mean": self.support, **ends}

    def facts(self) -> dict[str, Any]:
        """Plain values for a manifest; a single prompt has no interval, and null there."""
        found = asdict(self)
        for rung in found["rungs"]:
            for name in ESTIMATES:
                rung[name] = {k: v if math.isfinite(v) else None for k, v in rung[name].items()}
        return found


ESTIMATES = ("reward", "kl", "objective")
HEAD = ["beta", "reward", "KL, nats", "J*", "effective", ""]
WIDTHS = (8, 24, 22, 24, 9, 0)


def read_ladder(facts: Mapping[str, Any] | None) -> Ladder | None:
    """The ladder of a manifest's facts; None where there is none, as before 0.2."""
    if not facts:
        return None
    rungs = []
    for each in facts["rungs"]:
        estimates = {
            name: {k: math.nan if v is None else v for k, v in each[name].items()} for name in ESTIMATES
        }
        rungs.append(Rung(**{**each, **{name: Estimate(**value) for name, value in estimates.items()}}))
    return Ladder(**{**facts, "rungs": rungs})


def _short(estimate: Estimate) -> str:
    if not math.isfinite(estimate.high):
        return f"{estimate.mean:.3g}"
    return interval(estimate)
