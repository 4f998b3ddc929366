"""Numbers as texts, and the distribution of rewards as tables of them, for the pages that show it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from copg.records import Estimate

Rows = list[list[str]]
QUANTILES = {"0": "least", "0.05": "5 %", "0.25": "25 %", "0.5": "median", "0.75": "75 %", "0.95": "95 %",
             "1": "most"}  # fmt: skip
STATISTICS = {
    "mean": "mean",
    "std": "deviation",
    "spread": "spread within a prompt",
    "length_correlation": "correlation with length",
}
HEAD = ["reward", *QUANTILES.values(), *STATISTICS.values()]
COUNTS_HEAD = ["split", "prompts", "completions", "tied prompts", "prompts with one completion"]


def form_of(estimate: Estimate) -> str:
    """How to print the numbers of an estimate: as many decimals as its interval can tell apart.

    With an exponent where that makes more than six decimals, or the numbers have more than seven digits.
    """
    width = estimate.high - estimate.low
    largest = max(abs(estimate.low), abs(estimate.high))
    if not math.isfinite(width) or width <= 1e-13 * largest:
        return ".3g"
    place = math.floor(math.log10(width))
    if largest < 1e7 and place >= -5:
        return f".{max(0, 1 - place)}f"
    return f".{max(1, 1 + math.floor(math.log10(largest)) - place)}e"


def interval(estimate: Estimate) -> str:
    """As a reader sees it: ``0.523 [0.498, 0.549]``."""
    form = form_of(estimate)
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def part_of(name: str) -> str:
    """``facts`` of ``reward_facts``; the mixture itself is ``reward``."""
    return name.removeprefix("reward_") if name != "reward" else "sum, as trained on"


def distribution_rows(facts: Mapping[str, Any]) -> Rows:
    """One row for the rewards and for each part: quantiles and statistics, under ``HEAD``.

    Args:
        facts: of one split, as ``Distribution.facts`` gives them.
    """
    metrics = facts["metrics"]
    return [
        [
            part_of(name),
            *(number(quantiles.get(q)) for q in QUANTILES),
            *(number(metrics.get(f"{name}/{statistic}")) for statistic in STATISTICS),
        ]
        for name, quantiles in facts["quantiles"].items()
    ]


def counts_rows(splits: Mapping[str, Mapping[str, Any]]) -> Rows:
    """How many prompts of each split are tied or have one completion, under ``COUNTS_HEAD``."""
    return [
        [
            split,
            f"{facts['groups']:,}",
            f"{facts['completions']:,}",
            percent(facts["metrics"].get("groups/tied")),
            percent(facts["metrics"].get("groups/single")),
        ]
        for split, facts in splits.items()
    ]


def agreement_rows(facts: Mapping[str, Any], parts: Sequence[str]) -> Rows:
    """A row for each part: its correlation with each of the others; empty with fewer than two parts."""
    if len(parts) < 2:
        return []
    found = facts["agreement"]

    def cell(one: str, other: str) -> str:
        return "1" if one == other else number(found.get(f"{one}~{other}", found.get(f"{other}~{one}")))

    return [[one, *(cell(one, other) for other in parts)] for one in parts]


def parts_of(facts: Mapping[str, Any]) -> list[str]:
    """Names of the parts, in the recipe's order."""
    return [part_of(name) for name in facts["quantiles"] if name != "reward"]


def number(value: float | None) -> str:
    """With a proper minus sign; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    """A share in per cent."""
    return "\N{EN DASH}" if share is None else f"{100 * share:.3g} %"
